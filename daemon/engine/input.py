"""`wsgi.input` of a request without a body. Bodies are read before the application runs: see daemon.http.body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self


class EmptyInput:
    """Nothing to read, for ever; it holds no state, so that all requests share one."""

    __slots__ = ()

    def read(self, size: int | None = -1, /) -> bytes:
        return b""

    readline = read1 = read

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        return []

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        return 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def close(self) -> None:
        pass

    flush = close

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 0

    def tell(self) -> int:
        return 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return False


EMPTY = EmptyInput()
