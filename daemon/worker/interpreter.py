"""What the interpreter of a launcher or worker can run: looked at before the import. Standard library only."""

from __future__ import annotations

import sys
from importlib import import_module

from miniwsgi.codes import Code

from ..engine import choice
from ..settings import Settings
from .application import BootError
from .pools import pool_class


def engine_for(settings: Settings) -> choice.Chosen:
    """The engine that runs here. Raises BootError if this interpreter cannot run what the settings ask for."""
    if why := _why_unfit(settings):
        raise BootError(Code.INTERPRETER_UNFIT, why)
    try:
        engine = choice.choose(settings.engine)
    except choice.EngineError as error:
        raise BootError(Code.ENGINE_UNAVAILABLE, str(error)) from None
    _import_parts(settings)
    return engine


def _import_parts(settings: Settings) -> None:
    """What serves only what the settings ask for: here already, so that it is shared by all that are forked."""
    pool_class(settings.pool)
    if any(listener.protocol == "uwsgi" for listener in settings.listeners):
        import_module("miniwsgi.daemon.engine.uwsgi.conversation")
    if any(listener.proxy_protocol for listener in settings.listeners):
        import_module("miniwsgi.daemon.engine.openings.proxy_header")
    if settings.trusted:
        import_module("miniwsgi.daemon.engine.proxy")
    if settings.static:
        import_module("miniwsgi.daemon.engine.x_sendfile")


def _why_unfit(settings: Settings) -> str:
    """What a worker's threads tell each other rests on the global interpreter lock: on deques, and on cells that have
    one writer. Other pools run the application on one thread.
    """
    has_gil = getattr(sys, "_is_gil_enabled", None)  # CPython 3.13 and newer
    if has_gil is None or has_gil() or settings.pool != "epoll" or settings.threads == 1:
        return ""
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{sys.executable} (Python {version}) runs without the global interpreter lock, which "
        f"server.threads = {settings.threads} needs: set server.threads = 1 (and more server.workers), or "
        'PYTHON_GIL = "1" in app.env, or another interpreter in app.python'
    )
