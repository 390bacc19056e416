"""What the service manager is told as time goes by: one line of status, signs of life, and how long things may take.

systemd bounds a start, a reload and a stop (TimeoutStartSec=, TimeoutStopSec=). Our own timeouts are the ones that
count: whenever the next step of one of these begins, the manager is told how long that may take at most.
"""

from __future__ import annotations

from collections.abc import Callable

from miniwsgi.manager import changes as ch

from ..supervising import actions as act
from ..supervising import events as ev
from ..supervising.operations import Operation, OperationState
from ..supervising.supervisor import Supervisor, SupervisorState
from ..supervising.worker_table import WorkerState
from ..system.systemd import Notifier
from .watch import Watch

MARGIN_SECONDS = 15.0  # beyond what was asked for: killing, reaping, flushing logs
DETAIL_ROUNDS = 5  # how many seconds old a rate may be
TOLD_STATES = frozenset((SupervisorState.STARTING, SupervisorState.RUNNING, SupervisorState.DRAINING))
STEPS = (act.BootGeneration, act.ForkWorker, act.DrainWorker, act.FinishWorker)


class Announcer:
    """Speaks through `notifier` of what `supervisor` does. `detail` is more for the status line: rates and such."""

    def __init__(self, notifier: Notifier, supervisor: Supervisor, watch: Watch) -> None:
        self._notifier = notifier
        self._supervisor = supervisor
        self._watch = watch
        self._rounds = 0
        self._shown = ""
        self._failure = ""  # of the last reload
        self.detail: Callable[[], str] = str
        self.no_control = ""  # why there is no control API: who misses it asks systemd

    def __repr__(self) -> str:
        return f"<Announcer {self._notifier}>"

    # --- time ---

    def round(self) -> None:
        """To be called each second."""
        if self._rounds % DETAIL_ROUNDS == 0:
            self._shown = self.detail()
        self._rounds += 1

    def alive(self) -> None:
        """A sign of life, unless every worker is wedged: then nobody is served, whatever the master does."""
        if not self._watch.wholly_wedged:
            self._notifier.alive()

    # --- what happens ---

    def starting(self, boot_seconds: float) -> None:
        self._notifier.extend_timeout(boot_seconds + MARGIN_SECONDS)

    def stopping(self, order: act.AnnounceStop) -> None:
        self._notifier.stopping(order.delay + order.graceful + MARGIN_SECONDS)

    def accepted(self, operation: Operation) -> None:
        """Someone asked for something, and it is done."""
        if operation.kind is ch.Reload:
            self._notifier.reloading()

    def concluded(self, operation: Operation) -> None:
        """An operation has its verdict."""
        supervisor = self._supervisor
        if operation.kind is ch.Start and operation.state is OperationState.FAILED:
            self._notifier.failed(operation.error)
        elif operation.kind is ch.Start:
            self._notifier.ready(self._status())
        if operation.kind is not ch.Reload:
            return
        self._failure = operation.error if operation.state is OperationState.FAILED else ""
        if not supervisor.stopping.asked:
            self._notifier.ready(self._status())
            if supervisor.ledger.open(ch.Reload):
                self._notifier.reloading()

    def handled(self, _event: ev.Input, actions: list[act.Action]) -> None:
        """To be called after each event."""
        supervisor = self._supervisor
        bounded = supervisor.ledger.open(ch.Start) or supervisor.ledger.open(ch.Reload) or supervisor.stopping.asked
        if bounded and any(isinstance(action, STEPS) for action in actions):
            plan = supervisor.turnover.plan
            self._notifier.extend_timeout(max(plan.boot_timeout, plan.graceful_timeout) + MARGIN_SECONDS)
        if supervisor.turnover.current is not None and supervisor.state in TOLD_STATES:
            self._notifier.status(self._status())

    def _status(self) -> str:
        """One line for `systemctl status`."""
        supervisor = self._supervisor
        table, current = supervisor.table, supervisor.turnover.current
        parts = [f"{supervisor.state.value}: {table.ready()} of {supervisor.sizing.target} workers ready"]
        if draining := sum(1 for _worker in table.workers(WorkerState.DRAINING)):
            parts.append(f"{draining} draining")
        if current is not None:
            parts.append(current.name)
        if self._shown:
            parts.append(self._shown)
        if self._failure:
            parts.append(f"the last reload failed: {' '.join(self._failure.split())[:200]}")
        if self.no_control:
            parts.append(f"no control API: {' '.join(self.no_control.split())}")
        return ", ".join(parts)
