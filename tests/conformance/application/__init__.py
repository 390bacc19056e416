"""The application behind the conformance cases: each path shows or does one thing of PEP 3333.

Any path without a route answers with JSON: the environ as it came and the body that was read. It needs
the standard library alone, so that any WSGI server can serve it: `application:application`, one directory up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import bodies, failures, files, heads, requests
from .routes import ROUTES, Environ, record

__all__ = ["application", "bodies", "failures", "files", "heads", "requests"]


def application(environ: Environ, start_response: Callable[..., Any]) -> Any:
    """Dispatch on the path, or on its first segment for the paths that take an argument (`/status/204`)."""
    path = environ["PATH_INFO"]
    record(environ, "called")
    handler = ROUTES.get(path) or ROUTES.get(path[: path.find("/", 1) + 1]) or requests.show_environ
    return handler(environ, start_response)
