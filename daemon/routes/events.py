"""Frameworks that drop a request before its response is begun: they tell by an event which route it has.

Pyramid's is `BeforeTraversal`, behind the match and before the view (`pyramid.router`); Falcon's is `process_resource`
of a middleware, which is called where a resource was found (`falcon.App`, 2.0 and later).
"""

from __future__ import annotations

import sys
from typing import Any

from .variables import ROUTE

_WRAPPERS = ("app", "application", "wsgi_app", "_app", "_application", "__wrapped__")  # where middleware keeps its own
_MAX_WRAPPERS = 16
_listening: set[int] = set()  # by id: applications that tell already; they live as long as the process


def told(_environ: dict[str, Any], _frame: object) -> None:
    """The finder of these: what there was to tell is in the environ already."""


def listen_to_pyramid() -> None:
    """Have all applications that there are tell the routes of their requests."""
    try:
        _listen_to_pyramid()
    except Exception:  # another version of it, or what has its name: then its requests have no routes
        return


def _listen_to_pyramid() -> None:
    config, events = sys.modules["pyramid.config"], sys.modules["pyramid.interfaces"]
    for registry in list(config.global_registries):
        if id(registry) not in _listening:
            _listening.add(id(registry))
            registry.registerHandler(_matched_by_pyramid, (events.IBeforeTraversal,))


def _matched_by_pyramid(event: Any) -> None:
    try:
        request = event.request
        route = request.matched_route
        if route is not None:
            pattern = route.pattern
            prefix = request.environ.get("SCRIPT_NAME", "").rstrip("/")
            request.environ.setdefault(ROUTE, f"{prefix}{'' if pattern[:1] == '/' else '/'}{pattern}")
    except Exception:
        return


class FalconMiddleware:
    """Tells what Falcon has found."""

    def process_resource(self, req: Any, _resp: Any, _resource: Any, _params: Any) -> None:
        """Called by Falcon before the responder."""
        try:
            template = req.uri_template
            if template is not None:
                req.env.setdefault(ROUTE, f"{req.env.get('SCRIPT_NAME', '').rstrip('/')}{template}")
        except Exception:
            return


def listen_to_falcon(application: object) -> None:
    """Have the application, if it is Falcon's, or one that it wraps, tell the routes of its requests."""
    try:
        _listen_to_falcon(application)
    except Exception:  # as with Pyramid
        return


def _listen_to_falcon(application: object) -> None:
    kind = sys.modules["falcon"].App
    found: Any = application
    for _ in range(_MAX_WRAPPERS):
        if isinstance(found, kind):
            if id(found) not in _listening:
                _listening.add(id(found))
                found.add_middleware(FalconMiddleware())
            return
        wrapped = (getattr(found, name, None) for name in _WRAPPERS)
        found = next((one for one in wrapped if callable(one)), None)
        if found is None:
            return
