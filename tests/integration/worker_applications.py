"""The applications that several tests of workers serve. `echo` needs no site; the others wait at its gate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .worker_harness import Application, Gate, Site

SERVED_BY = "X-Worker"  # the field that says which process gave the answer


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The path, and the request's body behind it."""
    start_response("200 OK", [("Content-Type", "text/plain"), (SERVED_BY, str(os.getpid()))])
    return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read()]


def holding(site: Site) -> tuple[Application, Gate]:
    """/hold notes that it has begun and waits at the gate, /wedge keeps the interpreter meanwhile; then echoes."""
    gate, record = site.gate(), site.record

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in {"/hold", "/wedge"}:
            record.note("begun")
            (gate.wait if path == "/hold" else gate.keep_the_interpreter)()
        return echo(environ, start_response)

    return application, gate
