"""What a call needs of whatever brings its answer to the client: see `wire`, and the tests' own."""

from __future__ import annotations

from typing import Protocol


class Disconnected(Exception):
    """The client is gone, or does not read: nothing more can be sent."""


class Transport(Protocol):
    """Where a response goes. All methods raise Disconnected."""

    def send(self, data: bytes, /) -> bool:
        """Send, or keep for sending; True when enough is kept: pause."""

    def send_parts(self, parts: tuple[bytes, ...], /) -> bool:
        """The same for several of which one is large: they are not copied into one."""

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        """The same for `count` bytes of a regular file; the descriptor may be closed afterwards."""

    def trace_id(self) -> str | None:
        """Of the request that is answered, for the log."""

    def turn_is_over(self) -> bool:
        """Whether others want a turn before more of a result is pulled."""

    def check_client(self) -> None:
        """Raise if the client has gone: asked when there is nothing to send, which would show it."""

    def wait_sent(self) -> None:
        """Block until all is out, if nobody but this thread sends it: what the application does next may last."""

    def wait_writable(self) -> None:
        """Block until what is kept has gone down: for `write`, which cannot pause."""
