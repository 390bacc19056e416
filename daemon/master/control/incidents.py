"""Incidents: slow requests, and what was in hand when a worker was lost. What the fleet witnesses comes here."""

from __future__ import annotations

from ...channel import Message
from ..running.master import Master
from ..running.witness import LostWorker
from ..running.worker_handle import WorkerHandle
from ..supervising import actions as act
from ..supervising import events as ev
from .crashes import Crashes
from .event_recorder import EventRecorder
from .incident_records import Date
from .slow_requests import SlowRequests


class Incidents:
    """See `running.witness.Witness`."""

    def __init__(self, master: Master, recorder: EventRecorder, date: Date) -> None:
        self.slow = SlowRequests(master, recorder, date)
        self.crashes = Crashes(master, recorder, self.slow, date)
        master.fleet.witness = self
        master.on_handled.append(self._handled)

    def __repr__(self) -> str:
        return f"<Incidents {self.slow} {self.crashes}>"

    def lost(self, found: LostWorker) -> None:
        self.crashes.lost(found)

    def dumped(self, worker: WorkerHandle) -> None:
        self.crashes.dumped(worker)

    def heard(self, worker: WorkerHandle, message: Message) -> None:
        match message["kind"]:
            case "timeout":
                self.crashes.timed_out(worker, message)
            case "child-lost":
                self.crashes.child_lost(worker, message)
            case "slow":
                self.slow.ended(worker, message)

    def _handled(self, event: ev.Input, _actions: list[act.Action]) -> None:
        self.crashes.handled(event)
