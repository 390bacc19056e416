"""Frameworks that drop a request before its response is begun: they tell by an event which route it has.

Pyramid's is `BeforeTraversal`, behind the match and before the view (`pyramid.router`); Falcon's is `process_resource`
of a middleware, which is called where a resource was found (`falcon.App`, 2.0 and later). Flask's is `request_started`,
behind the match: asked for once a middleware was met that keeps an answer and begins it when Flask is done.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .variables import ROUTE

_MAX_LOOKED_AT = 256  # of what is callable and within an application, its middleware and so on
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


def listen_to_flask(route_of: Callable[[Any, dict[str, Any]], str | None]) -> None:
    """Have Flask tell the routes of its requests, from the next one on."""
    try:
        _listen_to_flask(route_of)
    except Exception:  # as with Pyramid; or it has no signals
        return


def _listen_to_flask(route_of: Callable[[Any, dict[str, Any]], str | None]) -> None:
    flask = sys.modules["flask"]

    def started(_application: object, **_more: object) -> None:
        try:
            environ = flask.request.environ
            route = route_of(flask.request, environ)
            if route is not None:
                environ.setdefault(ROUTE, route)
        except Exception:
            return

    if id(flask) not in _listening:
        _listening.add(id(flask))
        flask.request_started.connect(started, weak=False)


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
    left: deque[Any] = deque([application])
    seen = {id(application)}
    while left:
        found = left.popleft()
        if issubclass(type(found), kind):
            if id(found) not in _listening:
                _listening.add(id(found))
                found.add_middleware(FalconMiddleware())
            continue
        for one in _callables_within(found):
            if id(one) not in seen and len(seen) < _MAX_LOOKED_AT:
                seen.add(id(one))
                left.append(one)


def _callables_within(found: object) -> list[object]:
    try:
        return [one for one in _within(found) if callable(one) and not issubclass(type(one), type)]
    except Exception:  # a proxy of nothing yet, a variable without a value: others may have the application
        return []


def _within(found: Any) -> Iterator[object]:
    """What middleware may keep its application in: attributes, what a function is bound to, closes over or names."""
    yield from list(getattr(found, "__dict__", {}).values())
    yield getattr(found, "__self__", None)
    yield getattr(found, "func", None)  # of functools.partial
    yield from getattr(found, "args", ())
    yield from (cell.cell_contents for cell in getattr(found, "__closure__", None) or ())
    if code := getattr(found, "__code__", None):
        named = found.__globals__
        yield from (named[name] for name in code.co_names if name in named)
