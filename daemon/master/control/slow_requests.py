"""Requests that run for longer than `log.slow_request`: each is told once, while it runs.

Seen from outside, in the scoreboard, so that also one in a wedged worker is told of. Call `look` about each second.
"""

from __future__ import annotations

import time

from miniwsgi.codes import Code

from ..running.master import Master
from ..supervising.worker_table import WorkerState
from .event_recorder import EventRecorder

NANOSECONDS = 1e9
WITH_REQUESTS = (WorkerState.READY, WorkerState.STUCK, WorkerState.DRAINING)


class SlowRequests:
    """Tells the error log and the event log."""

    def __init__(self, master: Master, recorder: EventRecorder) -> None:
        self._master = master
        self._recorder = recorder
        self.count = 0
        self._told: set[tuple[int, int, int]] = set()  # slot, thread, start

    def __repr__(self) -> str:
        return f"<SlowRequests {self._told}>"

    def look(self) -> None:
        master, limit = self._master, self._master.config.log.slow_request
        if not limit:
            return
        now, slow = time.monotonic_ns(), set()
        for worker in master.supervisor.table.workers(*WITH_REQUESTS):
            for request in master.fleet.board.slot(worker.slot).running():
                seconds = (now - request.started_ns) / NANOSECONDS
                if seconds < limit:
                    continue
                key = (worker.slot, request.thread, request.started_ns)
                slow.add(key)
                if key not in self._told:
                    self.count += 1
                    self._recorder.slow(worker.slot, request.method, request.path, seconds)
                    what = f"{request.method} {request.path} has been running for {seconds:.1f} s (slow_request)"
                    told = f"{worker.name}: {what}"
                    master.log.limited("slow-request", "warning", Code.SLOW_REQUEST, told)
        self._told = slow
