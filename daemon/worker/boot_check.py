"""`app.boot_check`: the application is asked for a page before anybody else does, as part of a worker's boot.

A check that fails says why in the application's own words: the traceback of the exception that got out of it, else
what it wrote to wsgi.errors meanwhile, where frameworks put the exceptions that they catch.
"""

from __future__ import annotations

from typing import Any

from ..engine import request_ids
from ..engine.call import Exchange
from ..engine.environ import request_environ
from ..http.connection import Connection
from .application import BootError
from .context import Context, application_traceback

KEPT_CHARACTERS = 16384  # of what it writes to wsgi.errors: the end


class _Witness:
    """A Transport that drops the answer, and a Reporter that keeps the exception."""

    def __init__(self, context: Context) -> None:
        self.traceback = ""
        self._context = context

    def send(self, data: bytes, /) -> bool:
        return False

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        pass

    def turn_is_over(self) -> bool:
        return False

    def check_client(self) -> None:
        pass

    def wait_writable(self) -> None:
        pass

    def exception(self, exchange: Exchange, error: BaseException) -> None:
        self.traceback = application_traceback(error)

    def mistake(self, exchange: Exchange, what: str) -> None:
        self._context.mistake(exchange, what)


class _Errors:
    """wsgi.errors, and the end of what was written to it."""

    def __init__(self, stream: Any) -> None:
        self.text = ""
        self._stream = stream

    def write(self, text: str) -> int:
        self.text = (self.text + str(text))[-KEPT_CHARACTERS:]
        return int(self._stream.write(text) or 0)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()


def boot_check(context: Context, path: str) -> None:
    """Ask the application for `path`. Raises BootError."""
    base = context.base_environ(context.settings.listeners[0], ("127.0.0.1", 0))
    connection = Connection(context.limits, base=base)
    connection.receive(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: miniwsgi-boot-check\r\n\r\n".encode())
    environ = request_environ(connection, context.settings.script_name, None)
    witness = _Witness(context)
    errors = environ["wsgi.errors"] = _Errors(environ["wsgi.errors"])
    environ[request_ids.VARIABLE] = request_id = context.request_ids.new()
    fields, variables = context.server_fields, context.request_variables()
    exchange = Exchange(witness, "GET", True, False, fields, witness, variables, request_id)
    environ["wsgi.early_hints"] = exchange.early_hints
    exchange.run(context.application, environ)
    if not exchange.status or int(exchange.status[:3]) >= 400:
        error = f"app.boot_check: GET {path} was answered {exchange.status or 'without a status'}"
        raise BootError("boot-check", error, witness.traceback or errors.text.rstrip())
