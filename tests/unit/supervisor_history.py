"""A history of the supervisor's world: one trouble after another, each named by a word and a number.

The numbers choose among what is there, so that any list of troubles is a history. The world checks the promises after
every event; `check_complete` and `check_stopped` are what must hold at the end.
"""

from __future__ import annotations

from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.leadership import LeaderPhase
from miniwsgi.daemon.master.supervising.supervisor import SupervisorState
from miniwsgi.manager import changes as ch

from tests.unit.supervisor_world import EXITED_0, EXITED_1, World

Steps = list[tuple[tuple[str, float], list[int]]]  # each trouble, and which pending things happen after it


class History:
    """One run of the world, with things that go wrong, from the asking to start."""

    def __init__(self, workers: int = 4, surge: int = 0, preloaded: bool = True) -> None:
        self.world = World(plan=ev.Plan(workers=workers, surge=surge), preloaded=preloaded, may_lead=True)
        self.world.do(ch.Start(who="test"))

    def live_through(self, steps: Steps) -> None:
        for (what, value), follow in steps:
            if self.world.exit is None:
                self.take(what, value)
                for choice in follow:
                    self.take("happen", choice)

    def take(self, what: str, value: float) -> None:
        world, number = self.world, int(value)
        processes = [p for p in world.processes.values() if p.state not in {"forking", "killed"}]
        booting = [p for p in processes if p.state == "booting"]
        forking = [p for p in world.processes.values() if p.state == "forking"]
        candidate = world.supervisor.turnover.candidate
        if what == "happen" and world.pending:
            _label, thunk = world.pending.pop(number % len(world.pending))
            thunk()
        elif what == "settle":
            world.settle()
        elif what == "advance":
            world.advance(value)
        elif what == "crash" and processes:
            world.crash(processes[number % len(processes)].slot, EXITED_1)
        elif what == "fail boot" and booting:
            world.do(ev.WorkerFailed(booting[number % len(booting)].slot, Code.IMPORT_RAISED, "broken", "Traceback"))
        elif what == "fail fork" and forking:
            slot = forking[number % len(forking)].slot
            del world.processes[slot]
            world.pending = [item for item in world.pending if not item[0].startswith(f"fork {slot} ")]
            world.do(ev.ForkFailed(slot, "no memory"))
        elif what == "crash launcher" and world.launchers:
            world.crash_launcher(sorted(world.launchers)[number % len(world.launchers)])
        elif what == "fail import" and candidate is not None and world.launchers.get(candidate.number) == "booting":
            world.do(ev.LauncherFailed(candidate.number, Code.IMPORT_RAISED, "broken", "Traceback"))
        elif what == "stale":
            self._stale(number)
        elif what.startswith("leader") and world.leaders():
            self._leader_trouble(what, world.leaders()[0])
        elif what == "refuse configuration" and candidate is not None:
            world.pending = [i for i in world.pending if i[0] != f"prepare of generation {candidate.number}"]
            if candidate.number not in world.launchers:
                world.do(ev.PrepareFailed(candidate.number, Code.IMPORT_RAISED, "broken"))
        else:
            self._ask(what, number, processes)

    def _leader_trouble(self, what: str, slot: int) -> None:
        world = self.world
        begins = f"lead {slot}" in [label for label, _ in world.pending]
        if what == "leader late":
            world.do(ev.LeaderLate(slot, "is late", "Traceback"))
        elif what == "leader fails" and begins:
            world.pending = [item for item in world.pending if item[0] != f"lead {slot}"]
            world.give_up_lead(slot, lambda slot: ev.LeaderFailed(slot, "broken", "Traceback"))
        elif what == "leader leaves" and not begins and world.processes[slot].state == "ready":
            world.give_up_lead(slot, ev.LeaderStopped)

    def _stale(self, number: int) -> None:
        """News that come too late, or of nobody: nothing changes."""
        world = self.world
        slot, generation = number % (len(world.table.slots) + 2), number % 7
        process = world.processes.get(slot)
        turnover = world.supervisor.turnover
        events: list[ev.SupervisorEvent] = []
        if process is None:
            events += [
                ev.WorkerExited(slot, EXITED_0),
                ev.WorkerFailed(slot, Code.IMPORT_RAISED, "broken"),
                ev.Wedged(slot, 31),
            ]
        if process is None or process.state != "forking":
            events += [ev.WorkerForked(slot, 1), ev.ForkFailed(slot, "no memory")]
        if process is None or process.state != "booting":
            events.append(ev.WorkerReady(slot))
        if slot not in world.leaders():
            events += [
                ev.LeaderStarted(slot),
                ev.LeaderStopped(slot),
                ev.LeaderFailed(slot, "x"),
                ev.LeaderLate(slot, "x"),
            ]
        if not turnover.is_candidate(generation):
            events += [
                ev.Prepared(generation, ev.Plan(workers=50)),
                ev.PrepareFailed(generation, Code.IMPORT_RAISED, "broken"),
            ]
            events.append(ev.LauncherFailed(generation, Code.IMPORT_RAISED, "broken"))
        if generation not in world.launchers:
            events.append(ev.LauncherExited(generation, "exited with status 0"))
            events.append(ev.LauncherReady(generation, True, "again"))
        if events:
            self._check_stale(events[number % len(events)])

    def _check_stale(self, event: ev.SupervisorEvent) -> None:
        self.world.do(ev.Tick())  # what is due by now
        before = repr(self.world.supervisor)
        self.world.do(event)
        assert repr(self.world.supervisor) == before, event

    def _ask(self, what: str, number: int, processes: list[object]) -> None:
        world = self.world
        slot = number % (len(world.table.slots) + 1)
        if what == "wedge":
            world.do(ev.Wedged(slot, 31))
        elif what == "time out":
            world.do(ev.RequestTimedOut(slot, 31, "GET /"))
        elif what == "recycle":
            world.do(ev.RecycleAsked(slot, "requests"))
        elif what == "die unreaped":
            world.do(ev.WorkerDied(slot))
        elif what == "reload":
            surge, seconds = number % 3, (30.0, 0.0, 5.0)[number // 3 % 3]
            world.next_plan = ev.Plan(workers=number, surge=surge, graceful_timeout=seconds) if number else None
            world.do(ch.Reload(who="r"))
        elif what == "scale":
            world.do(ch.Scale(who="s", to=number) if number > 0 else ch.Scale(who="s", by=number))
        elif what == "restart":
            world.do(ch.Restart(who="t", slot=None if number % 2 else slot))
        elif what == "log level":
            assert world.ask(ch.SetLogLevel(who="l", level="debug")).succeeded
        elif what == "drain":
            world.do(ch.Drain(who="d"))
        elif what == "undrain":
            world.do(ch.Undrain(who="u"))

    def calm_down(self) -> None:
        """Nothing goes wrong any more, and time passes."""
        for _ in range(30):
            self.world.settle()
            self.world.advance(12)
            self.world.settle()

    def check_complete(self) -> None:
        """What must hold once it has calmed down."""
        world, supervisor = self.world, self.world.supervisor
        assert world.exit is None, "the daemon ended by itself"
        assert not supervisor.ledger.open(), "an operation never ends"
        assert world.ready() == len(world.processes) == supervisor.sizing.target
        assert all(worker.fresh for worker in world.table.workers())
        assert supervisor.state in {SupervisorState.RUNNING, SupervisorState.DRAINING}
        assert not world.table.reserved()
        leads = LeaderPhase.LEADING if world.processes else LeaderPhase.NOBODY
        assert supervisor.leadership.phase is leads, supervisor.leadership
        assert len(world.leaders()) == bool(world.processes)
        if world.preloaded:
            assert len({process.generation for process in world.processes.values()}) <= 1, "two versions serve"

    def check_stopped(self) -> None:
        """What must hold once a stop was asked for and time has passed."""
        world = self.world
        for _ in range(40):
            world.settle()
            world.advance(1)
        assert world.exit == (3 if world.supervisor.turnover.start_failed else 0)
        assert not world.processes
        assert not world.launchers
        assert not world.supervisor.ledger.open()
        assert world.supervisor.state is SupervisorState.STOPPED
