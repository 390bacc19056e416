"""The one inspection of a worker that may be under way, on a thread of its own, and the pipe that it writes to.

The master's own looks, which take milliseconds, do not count as that: for them there is another of these.

Orders may be heard by any thread. Processes that are forked meanwhile, by the application or for a connection, do not
hold the pipe: its end is what tells the master that the worker has left.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any, Protocol, cast

from miniwsgi.codes import Code

from ...unpatched import Lock, os, start_thread
from .. import children
from ..context import Context

KINDS = {
    "profile": "sampler",
    "memory": "memory",
    "requests": "requests",
}  # by what is ordered: the module whose `inspect` does it
THREAD_NAME = "mw-inspect"
IN_CHILDREN = (
    "pool fork runs each connection in a process of its own, which hears no orders: "
    "py-spy record --subprocesses --pid {pid} sees those"
)


class Inspect(Protocol):
    """What such a module has: it writes to a pipe, which is closed afterwards. Raises OSError: the reader has left."""

    def __call__(self, context: Context, order: dict[str, Any], fd: int) -> None: ...


class Inspections:
    """Begins what is ordered; `fd` is the pipe of what is under way, -1 if nothing is. `name`: of what it is for."""

    def __init__(self, context: Context, name: str = "inspection") -> None:
        self._context = context
        self._name = name
        self._busy = Lock()  # held while one is under way
        self.fd = -1

    def __repr__(self) -> str:
        return f"<Inspections {'under way' if self._busy.locked() else 'none'}>"

    def begin(self, order: dict[str, Any], fds: list[int]) -> None:
        """Carry out an order; the descriptors that came with it, one pipe, are closed in the end. Returns at once."""
        if len(fds) != 1:
            for fd in fds:
                os.close(fd)
            return
        fd = fds[0]
        what = str(order.get("what"))
        if what not in KINDS:
            _refuse(fd, f"this worker knows no inspection {what!r}")
        elif what == "profile" and self._context.settings.pool == "fork":
            _refuse(fd, IN_CHILDREN.format(pid=os.getpid()))
        elif not self._busy.acquire(blocking=False):
            _refuse(fd, "another profile, or look at the memory, of this worker is under way; there is one at a time")
        else:
            self.fd = fd
            children.withhold(self._name, lambda: (self.fd,))
            try:
                os.set_blocking(fd, False)
                start_thread(lambda: self._run(what, order), THREAD_NAME)
            except RuntimeError as error:
                self.fd = -1
                self._busy.release()
                _refuse(fd, f"no thread can be had for it ({error}); see TasksMax and memory")

    def disown(self) -> None:
        """In a process that was forked for a connection: the pipe is its parent's alone."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _run(self, what: str, order: dict[str, Any]) -> None:
        fd = self.fd
        try:
            write_line(fd, kind="begin", order=order, pid=os.getpid(), python=sys.version.split()[0])
            inspect = cast("Inspect", import_module(f"{__package__}.{KINDS[what]}").inspect)
            inspect(self._context, order, fd)
        except OSError:
            pass  # the reader has left
        except Exception as error:
            told = f"an inspection of this worker failed: {type(error).__name__}: {error}"
            self._context.log.error(Code.INTERNAL, told, what=what)
            write_line(fd, kind="failed", error=f"{type(error).__name__}: {error}")
        finally:
            self.fd = -1
            self._busy.release()  # first: whoever sees the pipe's end may order the next one
            os.close(fd)


def line_of(fields: dict[str, Any]) -> bytes:
    """JSON for any reader. Names may have lone surrogates, of a file that is not called in UTF-8 for one: "?" each."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def write_line(fd: int, **fields: Any) -> None:
    """For lines that fit into an empty pipe, or are not worth waiting for; nothing if the reader has left."""
    try:
        os.write(fd, line_of(fields))
    except OSError:
        pass


def _refuse(fd: int, why: str) -> None:
    write_line(fd, kind="refused", why=why)
    os.close(fd)
