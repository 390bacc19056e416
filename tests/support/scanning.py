"""The compiled engine's scanner (daemon/engine/compiled/scan.h) by itself: built as a program or a library, and called.

`read` puts its functions together as an engine does, and stands for what an engine may take from it: a request that is
usual in every part, or None, which says that the plain parser has to look.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ctypes import CDLL, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_long, c_size_t, c_uint8, c_uint32
from ctypes import create_string_buffer as buffer
from dataclasses import dataclass
from pathlib import Path

import pytest

from .programs import program, which

SOURCES = Path(__file__).parent / "scan"
HEADER = Path(__file__).parents[2] / "daemon" / "engine" / "compiled" / "scan.h"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
SCALAR = "-DMINIWSGI_SCALAR"
MOST_LINES = 101


def compiler() -> str:
    """A C compiler with its library; without, the test is skipped."""
    found = program("cc", "gcc")
    if not Path("/usr/include/stdio.h").exists():
        pytest.skip("there is no C library to compile with (Debian: libc6-dev)")
    return found


def compilers() -> list[str]:
    """`cc`, and others that happen to be there: their warnings differ."""
    found = [compiler(), *(path for name in ("gcc", "clang") if (path := which(name)))]
    return list({Path(path).resolve(): path for path in found}.values())


def build(source: str, output: Path, *options: str, using: str = "") -> Path:
    """Compile one of the sources into `output`. Any warning is an error."""
    command = [using or compiler(), *WARNINGS, "-O2", *options, f"-I{HEADER.parent}", str(SOURCES / source)]
    done = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return output


class Line(Structure):
    """mw_line."""

    _fields_ = (
        ("method_size", c_uint32), ("target_start", c_uint32), ("target_size", c_uint32), ("path_size", c_uint32),
        ("has_query", c_uint8), ("escaped", c_uint8), ("high", c_uint8), ("http11", c_uint8),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """What a head says, as the scanner reads it; values are latin-1 text."""

    size: int  # bytes of the head
    method: str
    target: str
    path: str
    query: str
    http11: bool
    fields: dict[str, str]
    length: int
    persistent: bool


class Scanner:
    """The functions of scan.h, in Python's types."""

    def __init__(self, library: Path) -> None:
        functions = CDLL(str(library))
        data = (c_char_p, c_size_t)
        pointer = POINTER(c_int)
        for name, result, arguments in (
            ("broken_promise", c_char_p, data),
            ("scan_lines", c_long, (*data, POINTER(c_uint32), c_int, pointer, pointer)),
            ("request_line", c_int, (*data, POINTER(Line))),
            ("unescape", c_size_t, (*data, c_char_p, pointer)),
            ("meta_variable", c_size_t, (*data, c_char_p)),
            ("trim", None, (c_char_p, POINTER(c_size_t), POINTER(c_size_t))),
            ("host", c_int, data),
            ("connection", c_int, data),
            ("content_length", c_int64, data),
        ):
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
        self._functions = functions

    def holds(self, data: bytes) -> None:
        """All that promises.h says of these bytes."""
        broken = self._functions.broken_promise(data, len(data))
        assert broken is None, (broken, data)

    def lines(self, data: bytes, capacity: int = MOST_LINES) -> tuple[int, list[bytes], bool]:
        """The head's size (0: not all of it is here, -1: look closer), its lines, whether a byte is above 0x7f."""
        ends, count, high = (c_uint32 * max(1, capacity))(), c_int(), c_int()
        size = self._functions.scan_lines(data, len(data), ends, capacity, byref(count), byref(high))
        if size <= 0:
            return size, [], False
        starts = [0, *(end + 2 for end in ends[: count.value])]
        return size, [data[start:end] for start, end in zip(starts, ends[: count.value], strict=False)], bool(high)

    def request_line(self, line: bytes) -> Line | None:
        found = Line()
        return found if self._functions.request_line(line, len(line), byref(found)) else None

    def unescape(self, path: bytes) -> bytes:
        out, high = buffer(len(path) + 1), c_int()
        size = self._functions.unescape(path, len(path), out, byref(high))
        assert bool(high) is any(byte > 0x7F for byte in out.raw[:size])
        return out.raw[:size]

    def meta_variable(self, name: bytes) -> str:
        out = buffer(len(name) + 5)
        size = self._functions.meta_variable(name, len(name), out)
        return out.raw[:size].decode("ascii")

    def trim(self, value: bytes) -> bytes:
        start, size = c_size_t(0), c_size_t(len(value))
        self._functions.trim(value, byref(start), byref(size))
        return value[start.value : start.value + size.value]

    def host(self, value: bytes) -> bool:
        return bool(self._functions.host(value, len(value)))

    def connection(self, value: bytes) -> int:
        found: int = self._functions.connection(value, len(value))
        return found

    def content_length(self, value: bytes) -> int:
        length: int = self._functions.content_length(value, len(value))
        return length

    def read(self, data: bytes) -> Request | None:
        """The request that begins here, if all of its head is here and usual."""
        size, lines, _high = self.lines(data)
        if size <= 0 or (found := self.request_line(lines[0])) is None:
            return None
        fields = self._fields(lines[1:])
        http11 = bool(found.http11)
        if fields is None or (http11 and "HTTP_HOST" not in fields):
            return None
        if "HTTP_HOST" in fields and not self.host(fields["HTTP_HOST"]):
            return None
        length = self.content_length(fields["CONTENT_LENGTH"]) if "CONTENT_LENGTH" in fields else 0
        wish = self.connection(fields["HTTP_CONNECTION"]) if "HTTP_CONNECTION" in fields else 2 - http11
        if length < 0 or not wish or {"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"} & fields.keys():
            return None
        target = lines[0][found.target_start : found.target_start + found.target_size]
        path = target[: found.path_size]
        return Request(
            size=size,
            method=lines[0][: found.method_size].decode("ascii"),
            target=target.decode("latin-1"),
            path=(self.unescape(path) if found.escaped else path).decode("latin-1"),
            query=target[found.path_size + 1 :].decode("latin-1"),
            http11=http11,
            fields={name: value.decode("latin-1") for name, value in fields.items()},
            length=length,
            persistent=wish == 1,
        )

    def _fields(self, lines: Sequence[bytes]) -> dict[str, bytes] | None:
        """Meta-variables and values; None: look closer."""
        fields: dict[str, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            variable = self.meta_variable(name)
            if not colon or not variable or variable in fields:
                return None
            fields[variable] = self.trim(value)
        return fields
