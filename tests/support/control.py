"""A client of the control API for tests on real daemons: one request a call, or many on a kept connection."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.waiting import PATIENCE_SECONDS


class UnixConnection(http.client.HTTPConnection):
    """http.client on a Unix socket."""

    def __init__(self, path: Path, timeout: float = PATIENCE_SECONDS) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body!r}>"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> Any:
        return self.json[name]


class Control:
    """The API of a daemon, on a kept connection."""

    def __init__(self, path: Path, timeout: float = PATIENCE_SECONDS) -> None:
        self.path = path
        self._connection = UnixConnection(path, timeout)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def call(self, method: str, target: str, body: Any = None) -> Answer:
        """Raises OSError, http.client.HTTPException."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        self._connection.request(method, "/v1" + target, data, headers)
        return Answer(self._connection.getresponse())

    def get(self, target: str) -> Answer:
        return self.call("GET", target)

    def post(self, target: str, body: Any = None) -> Answer:
        return self.call("POST", target, body)

    def change(self, target: str, body: Any = None, wait: int = 60) -> Answer:
        """A change and its verdict, which must be a success. Raises AssertionError."""
        answer = self.post(f"{target}?wait={wait}", body)
        assert answer.status == 200, answer
        assert answer["state"] == "succeeded", answer
        return answer

    def status(self) -> Any:
        answer = self.get("/status")
        assert answer.status == 200, answer
        return answer.json

    def workers(self) -> list[Any]:
        found: list[Any] = self.get("/workers")["workers"]
        return found


def control_of(daemon: Daemon) -> Path:
    """The path that a test gave the daemon as --control."""
    argv = daemon._argv
    return Path(argv[argv.index("--control") + 1])


@contextlib.contextmanager
def following(path: Path, query: str = "") -> Iterator[Iterator[Any]]:
    """The events as they come."""
    connection = UnixConnection(path)
    connection.request("GET", f"/v1/events?follow=1{query}")
    response = connection.getresponse()
    assert response.status == 200
    try:
        yield (json.loads(line) for line in response)
    finally:
        connection.close()
        response.close()
