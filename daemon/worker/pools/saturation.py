"""A line when all threads of a worker have been busy for longer than a second, which names who holds them, and one
when that is over. Others then wait: in the worker, or in the kernel's queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from miniwsgi.codes import Code

from ...engine.contract import Conversation
from ...engine.progress import input_waits
from ...unpatched import select
from ..context import NANOSECONDS, Context

BUSY_NS = NANOSECONDS
NAMED = 5  # requests in one line


class Saturation:
    """`look` is to be called some times a second, always by one thread. `what` is busy."""

    def __init__(self, context: Context, what: str) -> None:
        self._context = context
        self._what = what
        self._since_ns = 0  # 0: somebody is free
        self._told = False

    def look(self, busy: bool, now: int, since_ns: int = 0) -> None:
        """`since_ns`: when it began, if that is known better than from the looks before."""
        if not busy:
            if self._told:
                seconds = round((now - self._since_ns) / NANOSECONDS, 1)
                self._context.log.limited_info("free", f"not all {self._what} are busy any more", seconds=seconds)
            self._since_ns, self._told = 0, False
            return
        self._since_ns = self._since_ns or since_ns or now
        if not self._told and now - self._since_ns > BUSY_NS:
            self._told = True
            self._context.log.limited(
                "busy",
                "warning",
                Code.BUSY,
                f"all {self._what} have been busy for more than a second: what comes now waits",
                running=self._running(now),
            )

    def _running(self, now: int) -> str:
        """ "GET /report 3.2 s, GET /export 1.1 s and 6 more": the longest first."""
        found = sorted(self._context.slot.running(), key=lambda running: running.started_ns)
        named = ", ".join(f"{run.method} {run.path} {(now - run.started_ns) / 1e9:.1f} s" for run in found[:NAMED])
        return named + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


class LoneSaturation(Saturation):
    """Where one thread serves, a long request says nothing unless others wait meanwhile."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "threads (there is one)")

    def look_at(self, queues: Iterable[int], clients: Mapping[int, Conversation], now: int) -> None:
        """On another thread than that which serves: `queues` of listeners, and `clients` but the one that is served.

        A client that has only ended its connection, or its own side of it, does not wait.
        """
        running = self._context.slot.running()
        long = bool(running) and now - running[0].started_ns > BUSY_NS
        if long and not self._told:
            poller = select.poll()
            for fd in (*queues, *clients):
                poller.register(fd, select.POLLIN)
            ready = [fd for fd, mask in poller.poll(0) if mask & select.POLLIN]
            long = any(fd not in clients or input_waits(clients[fd].sock) for fd in ready)
        self.look(long, now, running[0].started_ns if long else 0)
