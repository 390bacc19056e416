"""`app.boot_check`: the application is asked for a page before anybody else does, as part of a worker's boot.

A check that fails says why in the application's own words: the traceback of the exception that got out of it, else
what it wrote to wsgi.errors meanwhile, where frameworks put the exceptions that they catch.
"""

from __future__ import annotations

from typing import Any

from miniwsgi.codes import Code

from ..engine import request_ids
from ..engine.call import Call, CallSteps
from ..engine.claim import Claim
from ..engine.environ import request_environ
from ..engine.site import application_traceback
from ..http.connection import Connection
from .application import BootError
from .context import Context

KEPT_CHARACTERS = 16384  # of what it writes to wsgi.errors: the end


class _Witness:
    """A Transport that drops the answer, and a CallSite that keeps the exception."""

    def __init__(self, context: Context) -> None:
        self.traceback = ""
        self.server_fields = context.site.server_fields
        self.encodings = context.site.encodings
        self.answers: Claim[CallSteps] = Claim()
        self._site = context.site

    def send(self, data: bytes, /) -> bool:
        return False

    def trace_id(self) -> str | None:
        return None

    def send_parts(self, parts: tuple[bytes, ...], /) -> bool:
        return False

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        pass

    def turn_is_over(self) -> bool:
        return False

    def check_client(self) -> None:
        pass

    def wait_sent(self) -> None:
        pass

    def wait_writable(self) -> None:
        pass

    def exception(self, call: CallSteps, error: BaseException, /) -> None:
        self.traceback = application_traceback(error)

    def mistake(self, call: CallSteps, what: str, /) -> None:
        self._site.mistake(call, what)


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
    site = context.site
    base = site.connection_environ(context.settings.listeners[0], ("127.0.0.1", 0))
    connection = Connection(site.limits, base=base)
    connection.receive(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: miniwsgi-boot-check\r\n\r\n".encode())
    environ = request_environ(connection, site.mount, None)
    witness = _Witness(context)
    errors = environ["wsgi.errors"] = _Errors(environ["wsgi.errors"])
    environ[request_ids.VARIABLE] = request_id = site.request_ids.new()
    call = Call(witness, witness, "GET", True, False, request_id)
    environ["wsgi.early_hints"] = call.early_hints
    site.request_variables().run(call.run, site.application, environ)
    if not call.status or int(call.status[:3]) >= 400:
        error = f"app.boot_check: GET {path} was answered {call.status or 'without a status'}"
        raise BootError(Code.BOOT_CHECK_FAILED, error, witness.traceback or errors.text.rstrip())
