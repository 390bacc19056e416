"""A look at the requests of a worker, while they run: an inspection of milliseconds, ordered by the master itself."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .frames import Frame
from .inspection import inspect
from .worker_handle import WorkerHandle


class SeenRequest(NamedTuple):
    """One that ran when it was looked at."""

    ident: int  # its thread, of threading.get_ident()
    request_id: str
    route: str  # "" not known
    trace_id: str | None
    cpu_ns: int  # what the thread's clock showed; -1 not known
    computed_ns: int  # of `window_ns` just before; -1 not known
    where: str  # the application's innermost frame; "" it has none
    frames: list[Frame]  # the innermost first


class Look(NamedTuple):
    requests: list[SeenRequest]
    window_ns: int

    def by_thread(self) -> dict[tuple[int, str], SeenRequest]:
        """By what the scoreboard has of them, too: the thread's ident, and the request's id."""
        return {(one.ident, one.request_id): one for one in self.requests}


class _Line(msgspec.Struct):
    """Of what a worker says: see worker/inspecting/requests.py."""

    kind: str
    rows: list[SeenRequest] = []
    seconds: float = 0.0


_decoder = msgspec.json.Decoder(_Line)


async def look(worker: WorkerHandle) -> Look | None:
    """None: the worker does not answer, or cannot just now."""
    said = await inspect(worker, {"what": "requests"}, 0.0)
    found: list[SeenRequest] | None = None
    for line in said or ():
        told = _decoder.decode(line)
        if told.kind == "requests":
            found = told.rows
        elif told.kind == "end" and found is not None:
            return Look(found, int(told.seconds * 1e9))
    return None
