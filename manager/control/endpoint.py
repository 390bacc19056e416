"""What an entry of the API's table is, and what its handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .. import messages as ms
from ..http.exchange import Answer, Stream
from ..http.routing import Route
from .auth import Principal


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request that is in order."""

    principal: Principal
    numbers: dict[str, int]  # of the path
    query: dict[str, Any]
    body: Any


Handler = Callable[[ApiCall], Awaitable[Answer | Stream]]


@dataclass(frozen=True, slots=True)
class Endpoint(Route[Handler]):
    """A route of this API, with what authorisation and openapi.json need."""

    role: ms.Role = "read"
    name: str = ""  # operationId
    summary: str = ""
    body: type[ms.RequestBody] | None = None
    response: type[ms.ResponseBody] | None = None
    statuses: tuple[int, ...] = (200,)
    refusals: tuple[int, ...] = ()
    waits: bool = False  # its answer may take seconds; so it may where `wait` is given
