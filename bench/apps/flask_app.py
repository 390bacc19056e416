"""Hello-world by Flask."""

# mypy: disable-error-code="import-not-found, unused-ignore"

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def hello() -> Response:
    """A view as people write them."""
    return Response("Hello, world!\n", content_type="text/plain; charset=utf-8")


closes: list[None] = []  # one for each answer to /closing whose close() was called


@app.get("/closing")
def closing() -> Response:
    """Wants to know when its answer is over (PEP 3333, close())."""
    response = hello()
    response.call_on_close(lambda: closes.append(None))
    return response


@app.get("/closed")
def closed() -> str:
    """How many of them were told."""
    return str(len(closes))
