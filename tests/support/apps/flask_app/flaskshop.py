"""A small Flask shop: says which version answered, in which process, to which request."""

from __future__ import annotations

import os
import time

from flask import Flask, render_template, request, session
from version import VERSION

app = Flask(__name__)
app.secret_key = "only for tests"


@app.get("/")
def index() -> tuple[str, dict[str, str]]:
    text = render_template("answer.txt", version=VERSION, pid=os.getpid(), token=request.args.get("token", ""))
    return text + "\n", {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/slow")
def slow() -> tuple[str, dict[str, str]]:
    time.sleep(min(10_000, int(request.args.get("ms", "100"))) / 1000)
    return index()


@app.post("/basket")
def add_to_basket() -> dict[str, int]:
    session["items"] = session.get("items", 0) + len(request.get_json()["items"])
    return {"items": session["items"]}
