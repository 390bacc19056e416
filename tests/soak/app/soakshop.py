"""A Flask application with something of everything: pages, bodies, streams, slow answers."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator

from flask import Flask, Response, request
from version import VERSION

app = Flask(__name__)
PIECE_BYTES = 65536


def answer(text: str) -> Response:
    return Response(f"{VERSION} {os.getpid()} {text}\n", content_type="text/plain; charset=utf-8")


@app.get("/")
def page() -> Response:
    return answer(request.args["token"])


@app.route("/slow", methods=["GET", "DELETE"])
def slow() -> Response:
    time.sleep(int(request.args["ms"]) / 1000)
    return answer(request.args["token"])


@app.route("/digest", methods=["POST", "PUT"])
def digest() -> Response:
    """What came, so that the client can tell whether it is what it sent."""
    found, length = hashlib.sha256(), 0
    while piece := request.stream.read(PIECE_BYTES):
        found.update(piece)
        length += len(piece)
    return answer(f"{length}:{found.hexdigest()}")


@app.route("/stream", methods=["GET", "DELETE"])
def stream() -> Response:
    token, count = request.args["token"], int(request.args["lines"])

    def lines() -> Iterator[str]:
        yield f"{VERSION} {os.getpid()} {token}\n"
        for number in range(count):
            yield f"{token} {number}\n" * 50

    return Response(lines(), content_type="text/plain; charset=utf-8")
