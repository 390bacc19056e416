"""The files in which prometheus_client's multi-process mode keeps values: their names, locks and contents.

`KIND_IDENTITY.db` holds what one process at a time counts. Elsewhere the identity is a pid, and files pile up; here it
is a place that the next process takes over with its numbers: `boot0` (a launcher), `slot3` (the worker of slot 3),
`slot3-0` (a process that this worker forked). Who has a place holds a record lock on its byte of one file: the kernel
lets go of it with the process, and does not pass it on by fork(2) (fcntl(2), "Advisory record locking").
Standard library only: workers and a small process of the master's use it. Nothing else in `metrics` is imported.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from typing import NamedTuple

LOCKS = "places.lock"
PLACES = 4096  # places of one slot: its worker's, and those of processes that this forked
FILE_BYTES = 1 << 16  # what an empty file of prometheus_client has
MULTIPLE_PROCESSES = "Multiprocess metric"  # the help text of keys that have none (prometheus_client before 0.16)

GAUGE_MODES = ("all", "min", "max", "sum", "mostrecent")
LIVE_KINDS = tuple(f"gauge_live{mode}" for mode in GAUGE_MODES)
GAUGE_KINDS = tuple(f"gauge_{mode}" for mode in GAUGE_MODES) + LIVE_KINDS
KINDS = ("counter", "histogram", "summary", *GAUGE_KINDS)

_NAME = re.compile(r"([a-z]+(?:_[a-z]+)?)_([^_]+)\.db")
_IDENTITY = re.compile(r"(boot|slot)(\d+)(?:-(\d+))?")
_HEADER_BYTES = 8
_INTEGER = struct.Struct("i")
_TIMED, _PLAIN = struct.Struct("dd"), struct.Struct("d")  # from 0.18 on a value has a timestamp
_RECORD_LOCK = struct.Struct("hhqqi")  # struct flock: type, whence, start, length, pid
_SMALLEST_KEY = len('["",""]')


def file_name(kind: str, identity: str) -> str:
    return f"{kind}_{identity}.db"


def split_name(name: str) -> tuple[str, str] | None:
    """Kind and identity of a value file's name; None for any other name."""
    found = _NAME.fullmatch(name)
    return (found[1], found[2]) if found and found[1] in KINDS else None


# --- places ---------------------------------------------------------------------------------------


def lock_offset(identity: str) -> int | None:
    """The byte of the lock file that stands for a place; None for an identity that is none, such as a pid."""
    found = _IDENTITY.fullmatch(identity)
    if not found:
        return None
    number, child = int(found[2]), found[3]
    if found[1] == "boot":
        return number
    return (number + 1) * PLACES + (0 if child is None else int(child) + 1)


def is_held(locks_fd: int, identity: str) -> bool:
    """Whether another process has this place. Takes no lock, so that it is in nobody's way. Raises OSError."""
    offset = lock_offset(identity)
    if offset is None:
        return True  # not ours to judge
    asked = _RECORD_LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    answer = fcntl.fcntl(locks_fd, fcntl.F_GETLK, asked)
    return bool(_RECORD_LOCK.unpack(answer)[0] != fcntl.F_UNLCK)


# --- contents -------------------------------------------------------------------------------------


class Content(NamedTuple):
    """A file's (key, value, timestamp) entries. `whole`: nothing in it is damaged."""

    entries: list[tuple[bytes, float, float]]
    timed: bool  # the layout with timestamps
    whole: bool


def read(path: str) -> Content:
    """What a file holds; of a damaged one what lies before the damage. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        data = file.read(FILE_BYTES)
        used = _INTEGER.unpack_from(data)[0] if len(data) >= _INTEGER.size else 0
        while len(data) < used and (more := file.read(used - len(data))):
            data += more
    return parse(data, used)


def parse(data: bytes, used: int) -> Content:
    """The entries in the first `used` bytes of a file. The layout is not marked: only the right one comes out even."""
    if used == 0 and not 0 < len(data) < _HEADER_BYTES:
        return Content([], True, True)  # made, but never written to
    timed = _walk(data, used, True)
    if timed.whole:
        return timed
    plain = _walk(data, used, False)
    return plain if plain.whole or len(plain.entries) > len(timed.entries) else timed


def _walk(data: bytes, used: int, timed: bool) -> Content:
    value_at = (_TIMED if timed else _PLAIN).unpack_from
    value_bytes = _TIMED.size if timed else _PLAIN.size
    integer_at = _INTEGER.unpack_from
    entries: list[tuple[bytes, float, float]] = []
    end, position = min(used, len(data)), _HEADER_BYTES
    while position + 4 <= end:
        (length,) = integer_at(data, position)
        start = position + 4
        value = start + length + 8 - (length + 4) % 8
        position = value + value_bytes
        if length < _SMALLEST_KEY or position > end or data[start] != 0x5B or data[start + length - 1] != 0x5D:
            return Content(entries, timed, False)
        pair = value_at(data, value)
        entries.append((data[start : start + length], pair[0], pair[1] if timed else 0.0))
    return Content(entries, timed, position == used)


def build(entries: list[tuple[bytes, float, float]], timed: bool) -> bytes:
    """A whole file with these entries, in the layout with or without timestamps."""
    parts = [b""]
    for key, value, timestamp in entries:
        padding = b" " * (8 - (len(key) + 4) % 8)
        numbers = _TIMED.pack(value, timestamp) if timed else _PLAIN.pack(value)
        parts.append(_INTEGER.pack(len(key)) + key + padding + numbers)
    body = b"".join(parts)
    used = _HEADER_BYTES + len(body)
    size = FILE_BYTES
    while size < used:
        size *= 2
    return (_INTEGER.pack(used) + bytes(_HEADER_BYTES - _INTEGER.size) + body).ljust(size, b"\0")


def mend(path: str, timed: bool) -> bool:
    """Have a file that this process takes over be whole and in its layout. Whether it had to be changed.

    Raises OSError, FileNotFoundError if there is none. A reader sees the old file or the new one, never a part.
    """
    content = read(path)
    if content.whole and (content.timed is timed or not content.entries):
        return False
    scratch = f"{path}.new"
    with open(scratch, "wb") as file:
        file.write(build(content.entries, timed))
    os.replace(scratch, path)
    return True
