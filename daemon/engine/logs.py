"""Where the engine tells what happens: the two logs of `daemon.log`, as far as they are needed here."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from miniwsgi.codes import Code

Headers = list[tuple[str, str]]


class Log(Protocol):
    """The error log."""

    def error(self, code: Code, message: str, /, **fields: object) -> None: ...
    def limited(
        self, key: str, level: Literal["warning", "error"], code: Code, message: str, /, **fields: object
    ) -> None: ...
    def flush(self, seconds: float, /) -> object: ...


class AccessLog(Protocol):
    """Where the line of each request goes."""

    def log(
        self, environ: dict[str, Any], status: str, headers: Headers, body_bytes: int, duration_ns: int
    ) -> None: ...
