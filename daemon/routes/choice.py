"""Settled once, when the application is there: how its routes are found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from .asking import Finder, ask, plain
from .copied import ask_copy
from .patterns import AUTO, Patterns
from .routed import Application, Routed
from .variables import ROUTE

# What is imported once a framework is used. What is looked up in the environ comes before what is looked for in frames.
_FLASK, _BOTTLE, _DJANGO, _CHERRYPY = "flask.app", "bottle", "django.core.handlers.wsgi", "cherrypy._cpwsgi"
_PYRAMID, _FALCON = "pyramid.router", "falcon.app"
_KNOWN = (_FLASK, _BOTTLE, _DJANGO, _CHERRYPY, _PYRAMID, _FALCON)

_finders: list[Finder] = []  # of this process's application


def routed(application: Application, wanted: Sequence[str] = (AUTO,)) -> Application:
    """The application as one whose requests have routes; itself, where there is nobody to find them.

    `wanted` is metrics.routes: AUTO, patterns, both, or nothing. Raises ValueError for what is no pattern.
    """
    finders = _of_frameworks(application) if AUTO in wanted else []
    patterns = [pattern for pattern in wanted if pattern != AUTO]
    by_path = Patterns(patterns) if patterns else None
    _finders[:] = finders if by_path is None else [*finders, by_path]
    return Routed(application, finders, by_path) if _finders else application


def _of_frameworks(application: Application) -> list[Finder]:
    used = [name for name in _KNOWN if name in sys.modules]
    if not used:
        return []
    from . import events, frameworks

    if _PYRAMID in used:
        events.listen_to_pyramid()
    if _FALCON in used:
        events.listen_to_falcon(application)
    known = {
        _FLASK: frameworks.flask, _BOTTLE: frameworks.bottle, _DJANGO: frameworks.django,
        _CHERRYPY: frameworks.cherrypy, _PYRAMID: events.told, _FALCON: events.told,
    }  # fmt: skip
    return list(dict.fromkeys(known[name] for name in used))


def route_of_running(environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """The route of a request that still runs, asked on any thread; None while it has none, or none is known.

    `environ` is that of its call, `frame` the innermost one of the thread that runs it, or None: without it Django's
    and CherryPy's routes are known only once their response is begun.
    """
    route = environ.get(ROUTE)
    if route is not None:
        return plain(route) or None
    return ask(_finders, environ, frame) or ask_copy(_finders, environ, frame)
