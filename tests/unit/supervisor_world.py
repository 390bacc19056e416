"""A world for the supervisor: a clock that only tests move, and processes that do as they are told when a test says so.

Every order is checked against what exists (no slot forked twice, nobody killed who is not there), and after every
event the promises are (see supervisor_promises.py). What an order would bring about waits in `pending` until it is
let happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ProcessEnd
from miniwsgi.daemon.master.supervising.operations import Operation
from miniwsgi.daemon.master.supervising.supervisor import Supervisor
from miniwsgi.daemon.master.supervising.worker_table import WorkerTable
from miniwsgi.manager import changes as ch
from miniwsgi.metrics.scoreboard import MAX_SLOTS

from tests.unit.supervisor_promises import Promises

KILLED_BY_KILL = ProcessEnd(signal="SIGKILL")
EXITED_0, EXITED_1 = ProcessEnd(0), ProcessEnd(1)


@dataclass
class Process:
    """A worker process as the world knows it."""

    slot: int
    pid: int
    generation: int
    state: str = "forking"  # booting, ready, draining; it vanishes with its exit
    leads: bool = False  # from the order to lead until it has said that it does not, or its exit


@dataclass
class World:
    plan: ev.Plan = field(default_factory=lambda: ev.Plan(workers=4))
    next_plan: ev.Plan | None = None  # what the next reload reads
    preloaded: bool = True
    may_lead: bool = False  # workers have hooks of a leader
    now: float = 1000.0
    busy: set[int] = field(default_factory=set)
    silent: dict[int, float] = field(default_factory=dict)  # slots whose workers do not respond: for how many seconds

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(
            self.plan, lambda: self.now, MAX_SLOTS, lambda slot: int(slot in self.busy), self.silent.get
        )
        self.actions: list[act.Action] = []
        self.processes: dict[int, Process] = {}
        self.launchers: dict[int, str] = {}
        self.pending: list[tuple[str, Callable[[], None]]] = []
        self.verdicts: list[Operation] = []
        self.exit: int | None = None
        self._pid = 100
        self._gone: set[int] = set()  # workers that were ready, of whose exit the supervisor is about to hear
        self._promises = Promises(self.supervisor)

    @property
    def table(self) -> WorkerTable:
        return self.supervisor.table

    # --- events in ---

    def do(self, event: ev.Input) -> list[act.Action]:
        """Hand over one event; carry out what it leads to as far as orders go."""
        processes = self.processes
        self._promises.before(event, {slot for slot in processes if processes[slot].state == "ready"} | self._gone)
        self._gone.clear()
        actions = self.supervisor.handle(event)
        self.actions += actions
        for action in actions:
            self._carry_out(action)
        self._promises.after(
            event,
            actions,
            {slot: (process.pid, process.generation, process.state) for slot, process in processes.items()},
            idle=not self.pending,
            over=self.exit is not None,
        )
        return actions

    def ask(self, change: ch.Change) -> Operation:
        """Hand over a change that is accepted; its operation."""
        first = self.do(change)[0]
        assert isinstance(first, act.ChangeAccepted), first
        return first.operation

    def advance(self, seconds: float) -> None:
        """Let time pass; every wake-up that falls into it happens at its time."""
        end = self.now + seconds
        while (wakeup := self.supervisor.next_wakeup()) is not None and wakeup <= end:
            self.now = wakeup
            self.do(ev.Tick())
        self.now = end
        self.do(ev.Tick())

    # --- what happens by itself ---

    def happen(self, *labels: str) -> None:
        """Let the first pending thing of each label happen."""
        for label in labels:
            for number, (found, thunk) in enumerate(self.pending):
                if found.startswith(label):
                    del self.pending[number]
                    thunk()
                    break
            else:
                raise AssertionError(f"{label} is not pending: {[found for found, _ in self.pending]}")

    def settle(self, *, but: str = "never", limit: int = 1000) -> None:
        """Let everything happen that is pending, in order; not what starts with `but`."""
        for _ in range(limit):
            for number, (label, thunk) in enumerate(self.pending):
                if not label.startswith(but):
                    del self.pending[number]
                    thunk()
                    break
            else:
                return
        raise AssertionError("it never settles")

    def crash(self, slot: int, end: ProcessEnd = KILLED_BY_KILL) -> None:
        """A worker ends by itself and is reaped."""
        if self.processes.pop(slot).state == "ready":
            self._gone.add(slot)
        self._forget(slot)
        self.do(ev.WorkerExited(slot, end))
        self._exit_idle_launchers()

    def crash_launcher(self, generation: int) -> None:
        del self.launchers[generation]
        gone = (f"launcher killed, generation={generation}", f"launcher exits, generation={generation}")
        self.pending = [
            item for item in self.pending if not item[0].endswith(f"of generation {generation}") and item[0] not in gone
        ]
        for slot, process in list(self.processes.items()):
            if process.generation == generation and process.state == "forking":
                del self.processes[slot]
        self.do(ev.LauncherExited(generation, "was killed by SIGKILL"))

    def start(self) -> None:
        """Start, with everything going well."""
        self.do(ch.Start(who="test"))
        self.settle()

    # --- what is there ---

    def ready(self, generation: int | None = None) -> int:
        return sum(
            process.state == "ready" and generation in {None, process.generation} for process in self.processes.values()
        )

    def leaders(self) -> list[int]:
        """Slots of processes that may be inside leader_start, or between that and the end of leader_stop."""
        return [process.slot for process in self.processes.values() if process.leads]

    def states(self) -> dict[int, str]:
        return {slot: f"{p.state} {p.generation}" for slot, p in sorted(self.processes.items())}

    def logged(self, text: str, level: str | None = None) -> list[act.LogLine]:
        return [
            action
            for action in self.actions
            if isinstance(action, act.LogLine) and text in action.message and level in {None, action.level}
        ]

    def ordered(self, kind: type[act.Action]) -> list[act.Action]:
        return [action for action in self.actions if isinstance(action, kind)]

    # --- carrying out ---

    def _later(self, label: str, thunk: Callable[[], None]) -> None:
        self.pending.append((label, thunk))

    def _forget(self, slot: int) -> None:
        """What was pending for a process that is gone does not happen."""
        self.pending = [item for item in self.pending if not item[0].split(" of ")[0].endswith(f" {slot}")]

    def _carry_out(self, action: act.Action) -> None:
        if isinstance(action, act.PrepareGeneration):
            number = action.generation
            plan = self.next_plan if action.reread and self.next_plan is not None else self.supervisor.turnover.plan
            self._later(f"prepare of generation {number}", lambda: void(self.do(ev.Prepared(number, plan))))
        elif isinstance(action, act.BootGeneration):
            number, preloaded = action.generation, self.preloaded
            assert number not in self.launchers
            self.launchers[number] = "booting"
            self._later(
                f"boot of generation {number}",
                lambda: void(self.do(ev.LauncherReady(number, preloaded))),
            )
        elif isinstance(action, act.ForkWorker):
            self._fork(action)
        elif isinstance(action, act.DrainWorker | act.FinishWorker):
            process = self.processes[action.slot]
            assert process.state == "ready", process
            process.state = "draining"
            if process.leads:
                self.pending = [item for item in self.pending if item[0] != f"lead {process.slot}"]
                self._later(f"stop leading {process.slot}", lambda: self.give_up_lead(process.slot, ev.LeaderStopped))
            self._later(
                f"drained {action.slot} of generation {process.generation} ", lambda: self._exit(process, EXITED_0)
            )
        elif isinstance(action, act.KillWorker):
            process = self.processes[action.slot]
            assert process.state != "forking", process
            self._forget(action.slot)
            process.state = "killed"
            self._later(f"killed {action.slot}", lambda: self._exit(process, KILLED_BY_KILL))
        elif isinstance(action, act.LeadWorker):
            process = self.processes[action.slot]
            assert process.state == "ready", process
            assert not self.leaders(), f"{self.leaders()} lead, and {action.slot} is asked to"
            process.leads = True
            self._later(f"lead {action.slot}", lambda: void(self.do(ev.LeaderStarted(action.slot))))
        elif isinstance(action, act.KillLauncher):
            assert action.generation in self.launchers
            number = action.generation
            self.launchers[number] = "killed"
            self._later(f"launcher killed, generation={number}", lambda: self.crash_launcher(number))
        elif isinstance(action, act.RetireGeneration):
            assert self.launchers[action.generation] == "booting"
            self.launchers[action.generation] = "retired"
            self._exit_idle_launchers()
        elif isinstance(action, act.OperationEnded):
            assert action.operation.ended
            assert action.operation not in self.verdicts, "two verdicts"
            self.verdicts.append(action.operation)
        elif isinstance(action, act.Exit):
            self.exit = action.status

    def give_up_lead(self, slot: int, said: Callable[[int], ev.Input]) -> None:
        """It leads no more, and says so."""
        self.processes[slot].leads = False
        self.do(said(slot))

    def _fork(self, action: act.ForkWorker) -> None:
        slot, number = action.slot, action.generation
        assert slot not in self.processes, f"slot {slot} is owned twice"
        assert self.launchers[number] == "booting", f"generation {number} is {self.launchers[number]}"
        self._pid += 1
        process = self.processes[slot] = Process(slot, self._pid, number)

        def forked() -> None:
            process.state = "booting"
            self._later(f"ready {slot} of generation {number} ", ready)
            self.do(ev.WorkerForked(slot, process.pid))

        def ready() -> None:
            process.state = "ready"
            self.do(ev.WorkerReady(slot, self.may_lead))

        self._later(f"fork {slot} of generation {number}", forked)

    def _exit(self, process: Process, end: ProcessEnd) -> None:
        del self.processes[process.slot]
        self._forget(process.slot)
        self.do(ev.WorkerExited(process.slot, end))
        self._exit_idle_launchers()

    def _exit_idle_launchers(self) -> None:
        for number, state in self.launchers.items():
            idle = not any(process.generation == number for process in self.processes.values())
            label = f"launcher exits, generation={number}"
            if state == "retired" and idle and not any(label == found for found, _ in self.pending):
                self._later(label, lambda number=number: self._launcher_exit(number))  # type: ignore[misc]

    def _launcher_exit(self, number: int) -> None:
        if self.launchers.pop(number, None) is not None:
            self.pending = [item for item in self.pending if item[0] != f"launcher killed, generation={number}"]
            self.do(ev.LauncherExited(number, "exited with status 0"))


def void(_result: object) -> None:
    """For lambdas whose result nobody wants."""


def running() -> World:
    """Four workers of generation 1, all ready."""
    world = World()
    world.start()
    world.actions.clear()
    world.verdicts.clear()
    return world
