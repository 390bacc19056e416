"""Workers that do not respond: told once when it begins, and when they respond again.

Nothing is done about it here: timeouts.wedge ends it. Call `look` about each second.
"""

from __future__ import annotations

from miniwsgi.codes import Code

from ..running.master import Master
from ..supervising.worker_table import WorkerState
from .event_recorder import EventRecorder


class Silence:
    """Tells the error log and the event log."""

    def __init__(self, master: Master, recorder: EventRecorder) -> None:
        self._master = master
        self._recorder = recorder
        self._silent: dict[int, float] = {}  # by pid: for how many seconds, when it was last seen

    def __repr__(self) -> str:
        return f"<Silence {self._silent}>"

    def look(self) -> None:
        master = self._master
        if not master.watch.can_tell:
            return
        before, self._silent = self._silent, {}
        for worker in master.supervisor.table.workers(WorkerState.READY):
            seconds = master.watch.silent_for(worker.slot)
            if seconds is not None:
                self._silent[worker.pid] = seconds
                if worker.pid not in before:
                    self._recorder.silent(worker.slot, seconds)
                    what = f"does not respond: its loop has not turned for {seconds:.0f} s"
                    master.log.limited("silent", "warning", Code.SILENT, f"{worker.name} {what}")
            elif worker.pid in before:
                self._recorder.responds(worker.slot, before[worker.pid])
                told = f"{worker.name} responds again, after {before[worker.pid]:.0f} s"
                master.log.limited_info("responds", told)
