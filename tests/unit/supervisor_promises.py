"""What the supervisor promises, checked after every event of every history.

Time moves only between events, so that what holds after each one holds always. Each check names what it is that an
operator would miss; `Promises` keeps what must be compared with the time before.
"""

from __future__ import annotations

from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.operations import Operation, OperationState
from miniwsgi.daemon.master.supervising.supervisor import Supervisor
from miniwsgi.daemon.master.supervising.worker_table import GenerationState, WorkerState
from miniwsgi.manager import changes as ch

# After these a worker that was ready is lost, whatever the supervisor does.
LOSSES = (ev.WorkerExited, ev.WorkerFailed, ev.Wedged, ev.RequestTimedOut)


class Promises:
    """The promises of one supervisor. `before` and `after` are called around each event."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ready = 0
        self._live = 0
        self._rolled = 0
        self._lost = 0  # ready workers that this event takes
        self._floors: dict[int, int] = {}  # how many were ready when a reload began, by operation
        self._restarts: dict[int, int] = {}
        self._exits = 0
        self._open: dict[int, Operation] = {}
        self._ended: set[int] = set()

    def before(self, event: ev.Input, ready: set[int]) -> None:
        """`ready`: the slots of workers that are ready, or were until what `event` tells of."""
        supervisor = self._supervisor
        self._ready, self._live, self._rolled = len(ready), self._live_now(), self._rolled_now()
        taken = isinstance(event, LOSSES) or (isinstance(event, ch.Restart) and event.now)
        self._lost = int(taken and event.slot in ready)  # type: ignore[union-attr]
        self._exits = sum(supervisor.table.exits.values())

    def after(
        self,
        event: ev.Input,
        actions: list[act.Action],
        processes: dict[int, tuple[int, int, str]],
        *,
        idle: bool,
        over: bool,
    ) -> None:
        """`processes`: pid, generation and state by slot; `idle`: nothing happens any more but for time."""
        self._answered_first(event, actions)
        self._verdicts(actions)
        self._one_owner_each(processes)
        self._counters(event)
        self._wakes_up(idle, over)
        if not self._supervisor.stopping.asked and not over:
            self._never_fewer_ready(sum(state == "ready" for _, _, state in processes.values()))
            self._surge_and_drains()

    # --- how many there are ---

    def _never_fewer_ready(self, ready: int) -> None:
        """Nothing that the supervisor does takes a ready worker away that is needed."""
        target = self._supervisor.sizing.target
        assert ready >= min(self._ready, target) - self._lost, f"{self._ready} were ready, now {ready} of {target}"
        operation = self._supervisor.turnover.operation
        for number in list(self._floors):
            if operation is None or operation.id != number:
                del self._floors[number]
            else:
                self._floors[number] = min(self._floors[number] - self._lost, target)
        if operation is not None and operation.kind is ch.Reload:
            floor = self._floors.setdefault(operation.id, min(ready, target))
            assert ready >= floor, f"{ready} are ready, {floor} were when the reload began"

    def _surge_and_drains(self) -> None:
        """Booting plus ready: target + surge; drains that others wait for: target. A lowered target lowers both."""
        supervisor = self._supervisor
        target, most = supervisor.sizing.target, supervisor.sizing.target + supervisor.sizing.surge
        live, rolled = self._live_now(), self._rolled_now()
        assert live <= max(most, self._live), f"{live} workers boot or are ready, {most} may"
        assert rolled <= max(1, target, self._rolled), f"{rolled} drain at once, {target} may"

    def _live_now(self) -> int:
        """Without those that are killed as soon as their pid is known."""
        return sum(
            worker.live and not (worker.leaving and worker.state is WorkerState.FORKING)
            for worker in self._supervisor.table.workers()
        )

    def _rolled_now(self) -> int:
        return sum(worker.held_against_others for worker in self._supervisor.table.workers())

    # --- who they are ---

    def _one_owner_each(self, processes: dict[int, tuple[int, int, str]]) -> None:
        """The table is what there is: a slot has one worker, from the order to fork it until it is reaped."""
        table = self._supervisor.table
        owned = {worker.slot: worker for worker in table.workers()}
        assert len(owned) == len(list(table.workers())), "a slot is owned twice"
        assert owned.keys() == processes.keys(), f"table {sorted(owned)}, processes {sorted(processes)}"
        for slot, (pid, generation, state) in processes.items():
            worker = owned[slot]
            assert table.slots[slot].worker is worker
            assert worker.generation == generation
            assert generation in table.generations, "a worker of a generation that is forgotten"
            if worker.state is not WorkerState.FORKING:
                assert worker.pid == pid
            assert (worker.state is WorkerState.READY) == (state == "ready"), (worker, state)
        for waiting in table.reserved():
            assert waiting.worker is None or waiting.worker.state is WorkerState.KILLED, waiting

    def _counters(self, event: ev.Input) -> None:
        """They never go back; an exit is counted once."""
        table = self._supervisor.table
        for slot in table.slots:
            assert slot.restarts >= self._restarts.get(slot.index, 0), f"{slot} had {self._restarts[slot.index]}"
            self._restarts[slot.index] = slot.restarts
            assert slot.failures >= 0
        counted = sum(table.exits.values()) - self._exits
        assert counted in ({0, 1} if isinstance(event, ev.WorkerExited) else {0}), f"{counted} exits are counted"

    # --- operations ---

    def _answered_first(self, event: ev.Input, actions: list[act.Action]) -> None:
        if isinstance(event, ch.Change):
            assert isinstance(actions[0], act.ChangeAccepted | act.ChangeDeclined), actions

    def _verdicts(self, actions: list[act.Action]) -> None:
        """Each operation ends once, with a verdict; those that are open say so."""
        ledger = self._supervisor.ledger
        for action in actions:
            if isinstance(action, act.ChangeAccepted):
                assert not action.joined or not action.operation.ended or action.operation.id in self._ended
            elif isinstance(action, act.OperationEnded):
                operation = action.operation
                assert operation.ended
                assert operation.id not in self._ended, "two verdicts"
                assert operation.state is not OperationState.FAILED or operation.error, "a failure without a reason"
                self._ended.add(operation.id)
        now_open = {operation.id: operation for operation in ledger.open()}
        for number, operation in self._open.items():
            assert number in now_open or number in self._ended, f"{operation} is gone without a verdict"
        assert not any(operation.ended for operation in now_open.values())
        self._open = now_open

    def _wakes_up(self, idle: bool, over: bool) -> None:
        """Never in the past, which would be a busy loop; and while something is owed, at some time."""
        supervisor = self._supervisor
        now, wakeup = supervisor.table.clock(), supervisor.next_wakeup()
        assert wakeup is None or wakeup > now, f"it wakes up {now - wakeup:g} s ago"
        if not idle or over or supervisor.stopping.over:
            return
        current = supervisor.turnover.current
        dead = current is not None and current.state is GenerationState.DEAD
        if supervisor.ledger.open() or dead or supervisor.stopping.asked:
            assert wakeup is not None, f"{supervisor.ledger.open()} wait for nothing that will ever happen"
