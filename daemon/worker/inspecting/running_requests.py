"""Which request a thread runs, as another thread sees it. Nothing of the application's is called for that."""

from __future__ import annotations

from types import FrameType
from typing import Any, NamedTuple

from ...engine import account, request_ids
from ...engine.contract import Stage
from ...engine.environ import text_of
from ...routes.choice import route_of_running


class RunningRequest(NamedTuple):
    """`began_ns`: when the application was called, of `time.monotonic_ns()`."""

    route: str  # "" if not known
    request_id: str
    method: str
    path: str
    began_ns: int


def environ_on(ident: int) -> tuple[dict[str, Any], int] | None:
    """The environ of the request that a thread (of `threading.get_ident`) runs, and since when; None: it runs none."""
    thread = account.threads.get(ident)
    conversation = thread.conversation if thread is not None else None
    if conversation is None or conversation.stage is not Stage.ANSWERING:
        return None
    environ, began_ns = conversation._environ, conversation.called_ns
    return (environ, began_ns) if "REQUEST_METHOD" in environ else None


def idents() -> list[int]:
    """The threads that run a request."""
    return [ident for ident in list(account.threads) if environ_on(ident) is not None]


def is_ours(ident: int) -> bool:
    """Whether the thread runs requests, now and then."""
    return ident in account.threads


def request_of(environ: dict[str, Any], began_ns: int, frame: FrameType) -> RunningRequest:
    """What is told of what `environ_on` has found, on a thread whose innermost frame is `frame`."""
    return RunningRequest(
        route_of_running(environ, frame) or "",
        text_of(environ, request_ids.VARIABLE),
        text_of(environ, "REQUEST_METHOD"),
        text_of(environ, "PATH_INFO"),
        began_ns,
    )
