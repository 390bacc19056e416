"""What a client gets from a conversation, to the last byte, as http.client reads it."""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import Any

from miniwsgi.daemon.engine.contract import Outcome

from .conversation_world import World


class Answered:
    """One response."""

    def __init__(self, data: bytes, method: str) -> None:
        sock: Any = _Sock(data)
        response = HTTPResponse(sock, method=method)
        response.begin()
        self.status = response.status
        self.fields = response.getheaders()
        self.body = response.read()
        self._response = response

    def __getitem__(self, name: str) -> str | None:
        return self._response.getheader(name)


class Lines:
    """An access log that keeps what it is told."""

    render = None
    every = True

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, Any], str, Any, int, int]] = []

    def log(self, *line: Any) -> None:
        self.told.append(line)


class _Sock:
    """What http.client reads from."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, *_: object) -> io.BytesIO:
        return self._file


def whole_answer(world: World, outcome: Outcome, method: str = "GET") -> Answered:
    """Read the answer that is on its way, behind which the client may ask again."""
    data = bytearray()
    while True:
        while part := world._read():
            data += part
        if outcome is not Outcome.UNSENT:
            break
        outcome = world.conversation.flush()
    assert outcome is Outcome.IDLE
    return Answered(bytes(data), method)
