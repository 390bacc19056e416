"""The body of a request, decoded as it arrives (RFC 9112 sections 6 and 7) and kept until it is complete.

A body of up to `memory_bytes` stays in memory, a larger one goes to an unnamed temporary file: a slow client costs
neither an application thread nor more memory than that.
"""

from __future__ import annotations

import io
import re
from enum import Enum, auto
from typing import IO

from ..temporary import unnamed_file
from . import errors
from .errors import ProtocolError

# chunk-size [ chunk-ext ] (RFC 9112 section 7.1): no sign, no "0x", no space before the extension. Sixteen digits
# cannot overflow anything here; extensions may be quoted and are ignored, but not without end.
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|"
    rb"\\[\t \x21-\x7e\x80-\xff])*\"))?)*)",
)
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
MAX_CHUNK_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 16384
_SMALL_BYTES = 512  # pieces below this are kept together
MAX_EXTENSION_BYTES = 65536  # of one body: extensions cost the sender little and us a search each
# What one `feed` does, in chunks that are whole and small: some 0.2 ms. All else in a chunked body costs as much as
# several. A receive buffer may hold ten thousand chunks of a byte: others want a turn before they all are read.
FEED_STEPS = 512
_LINE_STEPS = 4
_SMALL_SIZES = {spelled: size for size in range(1, 256) for spelled in (b"%x" % size, b"%X" % size)}
_SMALL_LINE_BYTES = 4  # with its CRLF


class Spool:
    """Where a body is collected. Raises OSError from `write` and `complete` when the spool directory is full."""

    __slots__ = ("_directory", "_file", "_memory_bytes", "_parts", "size")

    def __init__(self, memory_bytes: int, directory: str | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._directory = directory
        self._parts: list[bytes | bytearray] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        parts = self._parts
        if len(data) >= _SMALL_BYTES or not parts:
            parts.append(data)
        elif type(parts[-1]) is bytearray:
            parts[-1] += data
        else:  # a body that comes two bytes at a time must not need thirty times its size
            parts.append(bytearray(data))
        if self.size > self._memory_bytes:
            self._file = unnamed_file(self._directory)
            self._file.write(b"".join(parts))
            self._parts = []

    def complete(self) -> None:
        """The last byte is here; what cannot be kept must be known now, not when the application reads."""
        if self._file is not None:
            self._file.flush()

    def file(self) -> IO[bytes]:
        """The whole body, from its beginning."""
        if self._file is None:
            return io.BytesIO(b"".join(self._parts))
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._parts = []
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # it had something left to write, which nobody wants any more
                pass


class Sized:
    """A body of a known length in bytes."""

    __slots__ = ("_left", "_spool")
    unparsed = False

    def __init__(self, spool: Spool, length: int) -> None:
        self._spool = spool
        self._left = length

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; what follows the body once it is complete (b"" for nothing), None while it is not."""
        if len(data) < self._left:
            self._left -= len(data)
            self._spool.write(data)
            return None
        self._spool.write(data[: self._left])
        return data[self._left :]


class _Part(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


class Chunked:
    """A chunked body (RFC 9112 section 7.1). Trailers are checked, capped and dropped: nobody asked for them.

    `unparsed` says that the last `feed` has left bytes that it did not look at; another one goes on, also with b"".
    """

    __slots__ = (
        "_buffer", "_extension_bytes", "_left", "_max_bytes", "_part", "_spool", "_trailer_bytes", "unparsed",
    )  # fmt: skip

    def __init__(self, spool: Spool, max_bytes: int) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._buffer = b""
        self._part = _Part.SIZE
        self._left = 0
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self.unparsed = False

    def feed(self, data: bytes) -> bytes | None:
        """As `Sized.feed`, but see `unparsed`. Raises ProtocolError (400, 413)."""
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        steps = FEED_STEPS
        self.unparsed = False
        while True:
            if self._part is _Part.SIZE:
                at, steps = self._whole_chunks(data, at, steps)
            if steps <= 0 and at < end:
                self.unparsed = True
                break
            steps -= _LINE_STEPS
            if self._part is _Part.DATA:
                take = min(self._left, end - at)
                if take:
                    self._spool.write(data[at : at + take])
                    at += take
                    self._left -= take
                if self._left:
                    self._buffer = b""
                    return None
                self._part = _Part.DATA_END
            if self._part is _Part.DATA_END:
                if data[at : at + 2] != b"\r\n":
                    if b"\r\n".startswith(data[at : at + 2]):
                        break
                    raise ProtocolError(400, "chunk data is not followed by CRLF", "RFC 9112 section 7.1")
                at += 2
                self._part = _Part.SIZE
            line_end = data.find(b"\r\n", at, at + MAX_CHUNK_LINE_BYTES + 2)
            if line_end < 0:
                self._refuse_early(data[at:])
                break
            line = data[at:line_end]
            at = line_end + 2
            if self._part is _Part.SIZE:
                self._size(line)
            elif not line:
                return data[at:]
            else:
                self._trailer(line)
        self._buffer = data[at:]
        return None

    def _whole_chunks(self, data: bytes, at: int, steps: int) -> tuple[int, int]:
        """The small chunks from `at` on that are here to their end, in one sweep; where that ends, and steps left.

        What is in any way else is left to the closer look of `feed`.
        """
        find, size_of = data.find, _SMALL_SIZES.get
        room = self._max_bytes - self._spool.size
        parts: list[bytes] = []
        while steps > 0:
            line_end = find(b"\r\n", at, at + _SMALL_LINE_BYTES)
            size = size_of(data[at:line_end])
            if size is None or line_end < 0:
                break
            start = line_end + 2
            stop = start + size
            room -= size
            if room < 0 or data[stop : stop + 2] != b"\r\n":
                break
            parts.append(data[start:stop])
            at = stop + 2
            steps -= 1
        if parts:
            self._spool.write(b"".join(parts))
        return at, steps

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            section = self._section_of(line)
            raise ProtocolError(400, "malformed chunk size, or what is behind it", section)
        self._extension_bytes += len(match[2])
        if self._extension_bytes > MAX_EXTENSION_BYTES:
            raise ProtocolError(400, "too many chunk extensions", "RFC 9112 section 7.1.1")
        self._left = int(match[1], 16)
        if self._left + self._spool.size > self._max_bytes:
            raise errors.body_too_large(f"a chunked body of more than {self._max_bytes} bytes")
        self._part = _Part.DATA if self._left else _Part.TRAILERS

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise ProtocolError(431, "trailers too large", "RFC 6585 section 5")
        if not _TRAILER_LINE.fullmatch(line):
            raise ProtocolError(400, "malformed trailer", "RFC 9112 section 7.1.2")

    def _refuse_early(self, rest: bytes) -> None:
        """A line that will never be right need not be waited for."""
        if len(rest) > MAX_CHUNK_LINE_BYTES + 1:  # one more: the line's CR may be here
            raise ProtocolError(400, "chunk line too long", self._section_of(rest))
        if b"\n" in rest or b"\r" in rest[:-1]:
            raise ProtocolError(400, "bare CR or LF in chunk framing", self._section_of(rest))

    def _section_of(self, line: bytes) -> str:
        """Which rule a line breaks that is not right: the size's, the extensions' or the trailers'."""
        if self._part is _Part.TRAILERS:
            return "RFC 9112 section 7.1.2"
        size, extension, _ = line.partition(b";")
        if extension and _CHUNK_LINE.fullmatch(size.rstrip(b" \t")):
            return "RFC 9112 section 7.1.1"
        return "RFC 9112 section 7.1"
