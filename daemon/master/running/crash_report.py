"""Whose a crash in C code was: the compiled engine's, as far as can be told, and what a report of it has to say.

faulthandler writes the Python frames of the thread that crashed, and none of C code (of CPython 3.14 on it does). Where
the innermost of them is one of ours, what ran was called by us: the engine, or what the engine has called of the
application if that is compiled itself; unless another process has sent the signal. With the plain engine the same says
nothing about us, who are Python.
"""

from __future__ import annotations

import os
import platform
import re

from miniwsgi.metrics.scoreboard import (
    CELL,
    IDLE,
    MAX_THREADS,
    T_IDENT,
    T_START,
    T_STATE,
    T_TEXT,
    TEXT_BYTES,
    THREAD_CELLS,
    THREADS_AT,
)
from miniwsgi.metrics.slot import Slot

from ... import __version__
from .stacks import SENT
from .worker_handle import EngineInUse

OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
NATIVE = frozenset({"compiled"})  # engines that can crash
WHERE = "miniwsgi's compiled engine"
# What the thread that crashed was in, innermost first; CPython 3.14 has the thread's name in the heading.
_CURRENT = re.compile(r'^Current thread (0x[0-9a-f]+)[^\n]*:\n  File "([^"\n]*)"', re.MULTILINE)
_SHOWN_FIELDS = frozenset({
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection",
    "content-encoding", "content-length", "content-type", "date", "expect", "host", "if-modified-since", "if-range",
    "if-unmodified-since", "keep-alive", "max-forwards", "origin", "pragma", "range", "te", "trailer",
    "transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via",
})  # fmt: skip
_BEGINS_REQUEST = re.compile(rb"[A-Z]+ [^ \r\n]+ HTTP/1\.[01]\r\n")  # else it is a body's, and nobody's affair
_UNSHOWN = re.compile(r"[^\x20-\x7e]")


def inside(stacks: str, engine: EngineInUse | None) -> str:
    """What of ours the thread was in that crashed; "" if in nothing, or nobody can tell. `stacks` is faulthandler's."""
    if engine is None or engine.name not in NATIVE or stacks.startswith(SENT.decode()):
        return ""
    found = _CURRENT.search(stacks)
    return WHERE if found is not None and found[2].startswith(OURS) else ""


def report(stacks: str, engine: EngineInUse, slot: Slot, received: bytes = b"") -> str:
    """What is to be sent with the stacks, and why.

    `slot` is as the worker has left it; `received` what it got last, if that is known: not always a head.
    """
    found = _CURRENT.search(stacks)
    head, running = _last_request(slot, int(found[1], 16) if found is not None else 0)
    or_else = ", or compiled code of the application that it had called" if running else ""
    lines = [
        f"This is a fault of miniwsgi's{or_else}, if no extension module of the application has damaged the memory. "
        'Please report it, with these lines; until then server.engine = "plain" does without that engine.',
        f"miniwsgi {__version__}, engine {engine.name}, {engine.python}, {platform.platform()}",
        *(f"| {line}" for line in masked(received if _BEGINS_REQUEST.match(received) else head)),
    ]
    return "\n".join(lines)


def masked(head: bytes) -> list[str]:
    """The lines of a request's head, as far as it goes, that nobody need keep to himself: no query, no credentials.

    Of fields that are not known to be harmless the value's size is shown alone, and of what is no line as it should be.
    """
    line, _, fields = head.partition(b"\r\n")
    shown = [_masked_line(line.rstrip(b"\r\0"))] if line.rstrip(b"\r\0") else []
    for field in fields.split(b"\r\n"):
        name, colon, value = field.partition(b":")
        if not field:
            break
        value = value.strip()
        told = _plain(value) if name.strip().lower().decode("latin-1") in _SHOWN_FIELDS else _size(value)
        shown.append(f"{_plain(name)}: {told}" if colon else _size(field))
    return shown


def _masked_line(line: bytes) -> str:
    target, mark, query = line.partition(b"?")
    if not mark:
        return _plain(line)
    query, space, version = query.rpartition(b" ") if b" " in query else (query, b"", b"")
    return f"{_plain(target)}?{_size(query)}{_plain(space + version)}"


def _size(value: bytes) -> str:
    return f"<{len(value)} bytes>"


def _plain(data: bytes) -> str:
    return _UNSHOWN.sub(lambda one: f"\\x{ord(one[0]):02x}", data.decode("latin-1"))


def _last_request(slot: Slot, ident: int) -> tuple[bytes, bool]:
    """What the thread showed as its latest request, and whether it showed it as running."""
    cells = slot.cells
    for thread in range(MAX_THREADS):
        at = THREADS_AT + thread * THREAD_CELLS
        if not cells[at + T_START]:
            break
        if cells[at + T_IDENT] == ident:
            text = bytes(slot.memory[(at + T_TEXT) * CELL :][:TEXT_BYTES])
            return text.partition(b"\0")[0].partition(b"\r")[0], cells[at + T_STATE] != IDLE
    return b"", False
