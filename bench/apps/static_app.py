"""For files below /static/: an application that has none, and the same with WhiteNoise, for $BENCH_STATIC."""

from __future__ import annotations

import importlib
import os
from typing import Any


def plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Hello-world, for all that is no file."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    return [b"Hello, world!\n"]


def __getattr__(name: str) -> Any:
    """`white`, made when it is asked for: WhiteNoise is in the peers' environment alone."""
    if name != "white":
        raise AttributeError(name)
    return importlib.import_module("whitenoise").WhiteNoise(
        plain, root=os.environ["BENCH_STATIC"], prefix="static/", max_age=60
    )
