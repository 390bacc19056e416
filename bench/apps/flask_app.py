"""Hello-world by Flask."""

# mypy: disable-error-code="import-not-found, unused-ignore"

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def hello() -> Response:
    """A view as people write them."""
    return Response("Hello, world!\n", content_type="text/plain; charset=utf-8")
