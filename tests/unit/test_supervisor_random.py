"""Random histories: whatever happens in whatever order, the supervisor keeps its promises.

The world checks the promises after every event. Here is what must hold at the end, once nothing goes wrong any more:
every operation has its verdict, the crew is complete and of one generation, and a stop leaves nothing.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miniwsgi.daemon.master import events as ev
from miniwsgi.daemon.master.operations import Operation
from miniwsgi.daemon.master.supervisor import SupervisorState

from tests.unit.supervisor_world import EXITED_1, World

number = st.integers(min_value=0, max_value=1000)
trouble = st.one_of(
    st.tuples(st.sampled_from(["happen", "settle", "crash", "fail boot", "fail fork"]), number),
    st.tuples(st.sampled_from(["crash launcher", "fail import", "refuse configuration"]), number),
    st.tuples(st.sampled_from(["wedge", "time out", "recycle", "die unreaped"]), number),
    st.tuples(st.sampled_from(["restart", "drain", "undrain"]), number),
    st.tuples(st.just("advance"), st.sampled_from([0.05, 0.1, 0.5, 2, 6, 31, 61])),
    st.tuples(st.just("reload"), st.integers(0, 6)),
    st.tuples(st.just("scale"), st.integers(-2, 6)),
)
# Each trouble, and how many pending things happen after it, in which order.
step = st.tuples(trouble, st.lists(st.sampled_from([0, 0, 0, 1, 2]), max_size=12))
Steps = list[tuple[tuple[str, float], list[int]]]


class History:
    """One run of the world, with things that go wrong."""

    def __init__(self, workers: int, surge: int, preloaded: bool) -> None:
        self.world = World(plan=ev.Plan(workers=workers, surge=surge), preloaded=preloaded)
        self.operations: list[Operation] = []
        self.world.start()

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
            world.do(ev.WorkerFailed(booting[number % len(booting)].slot, "broken", "Traceback"))
        elif what == "fail fork" and forking:
            slot = forking[number % len(forking)].slot
            del world.processes[slot]
            world.pending = [item for item in world.pending if not item[0].startswith(f"fork {slot} ")]
            world.do(ev.ForkFailed(slot, "no memory"))
        elif what == "crash launcher" and world.launchers:
            world.crash_launcher(sorted(world.launchers)[number % len(world.launchers)])
        elif what == "fail import" and candidate is not None and world.launchers.get(candidate.number) == "booting":
            world.do(ev.LauncherFailed(candidate.number, "broken", "Traceback"))
        elif what == "refuse configuration" and candidate is not None:
            world.pending = [i for i in world.pending if i[0] != f"prepare of generation {candidate.number}"]
            if candidate.number not in world.launchers:
                world.do(ev.PrepareFailed(candidate.number, "broken"))
        else:
            self._ask(what, number, processes)

    def _ask(self, what: str, number: int, processes: list[object]) -> None:
        world = self.world
        slot = number % (len(world.crew.slots) + 1)
        if what == "wedge":
            world.do(ev.Wedged(slot, 31))
        elif what == "time out":
            world.do(ev.RequestTimedOut(slot, 31, "GET /"))
        elif what == "recycle":
            world.do(ev.RecycleAsked(slot, "requests"))
        elif what == "die unreaped":
            world.do(ev.WorkerDied(slot))
        elif what == "reload":
            world.next_plan = ev.Plan(workers=number) if number else None
            world.do(ev.ReloadAsked(who="r"))
        elif what == "scale":
            world.do(ev.ScaleAsked(who="s", to=number) if number > 0 else ev.ScaleAsked(who="s", by=number))
        elif what == "restart":
            world.do(ev.RestartAsked(who="t", slot=None if number % 2 else slot))
        elif what == "drain":
            world.do(ev.DrainAsked(who="d"))
        elif what == "undrain":
            world.do(ev.UndrainAsked(who="u"))

    def calm_down(self) -> None:
        """Nothing goes wrong any more, and time passes."""
        for _ in range(30):
            self.world.settle()
            self.world.advance(12)
            self.world.settle()


histories = given(
    workers=st.integers(1, 6),
    surge=st.sampled_from([0, 0, 1, 3]),
    preloaded=st.booleans(),
    steps=st.lists(step, max_size=40),
)
unhurried = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@histories
@unhurried
def test_after_any_history_every_operation_has_ended_and_the_crew_is_complete(
    workers: int, surge: int, preloaded: bool, steps: Steps
) -> None:
    history = History(workers, surge, preloaded)
    world = history.world
    history.live_through(steps)
    history.calm_down()
    supervisor = world.supervisor
    assert world.exit is None, "the daemon ended by itself"
    assert not supervisor.ledger.open(), "an operation never ends"
    assert world.ready() == len(world.processes) == supervisor.target
    assert all(worker.fresh for worker in world.crew.workers())
    assert supervisor.state in {SupervisorState.RUNNING, SupervisorState.DRAINING}
    assert not world.crew.reserved()
    if preloaded:
        assert len({process.generation for process in world.processes.values()}) <= 1, "two versions serve"


@histories
@unhurried
def test_a_stop_after_any_history_leaves_nothing(workers: int, surge: int, preloaded: bool, steps: Steps) -> None:
    history = History(workers, surge, preloaded)
    world = history.world
    history.live_through(steps)
    world.do(ev.StopAsked(who="SIGTERM"))
    for _ in range(40):
        world.settle()
        world.advance(1)
    assert world.exit == 0
    assert not world.processes
    assert not world.launchers
    assert not world.supervisor.ledger.open()


@given(steps=st.lists(step, max_size=25), stops=st.integers(1, 3), now=st.booleans())
@unhurried
def test_a_start_and_a_stop_at_any_point_end(steps: Steps, stops: int, now: bool) -> None:
    history = History.__new__(History)
    world = history.world = World()
    history.operations = []
    world.do(ev.StartAsked(who="test"))
    history.live_through(steps)
    for _ in range(stops):
        if world.exit is None:
            world.do(ev.StopAsked(who="x", now=now))
    if world.exit != 3:
        for _ in range(40):
            world.settle()
            world.advance(1)
        assert world.exit == 0
        assert not world.processes
