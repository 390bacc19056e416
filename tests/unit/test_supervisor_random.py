"""Random histories: whatever happens in whatever order, the supervisor keeps its promises.

The world checks the promises after every event. At the end, once nothing goes wrong any more, every operation has its
verdict, the workers are complete and of one generation, and a stop leaves nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from miniwsgi.manager import changes as ch

from tests.support.effort import effort
from tests.unit.supervisor_history import History, Steps

pytestmark = pytest.mark.timeout(effort(300, 3000))

number = st.integers(min_value=0, max_value=1000)
trouble = st.one_of(
    st.tuples(st.sampled_from(["happen", "settle", "crash", "fail boot", "fail fork"]), number),
    st.tuples(st.sampled_from(["crash launcher", "fail import", "refuse configuration"]), number),
    st.tuples(st.sampled_from(["wedge", "time out", "recycle", "die unreaped", "stale"]), number),
    st.tuples(st.sampled_from(["leader fails", "leader late", "leader leaves"]), number),
    st.tuples(st.sampled_from(["restart", "drain", "undrain", "log level"]), number),
    st.tuples(st.just("advance"), st.sampled_from([0.05, 0.1, 0.5, 2, 6, 31, 61])),
    st.tuples(st.just("reload"), st.integers(0, 9)),
    st.tuples(st.just("scale"), st.integers(-2, 6)),
)
# Each trouble, and how many pending things happen after it, in which order.
step = st.tuples(trouble, st.lists(st.sampled_from([0, 0, 0, 1, 2]), max_size=12))
sizes = {"workers": st.integers(1, 6), "surge": st.sampled_from([0, 0, 1, 3]), "preloaded": st.booleans()}
unhurried = settings(max_examples=effort(75, 3000), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(**sizes, steps=st.lists(step, max_size=40))
@unhurried
def test_after_any_history_every_operation_has_ended_and_the_table_is_complete(
    workers: int, surge: int, preloaded: bool, steps: Steps
) -> None:
    history = History(workers, surge, preloaded)
    history.world.settle()
    history.live_through(steps)
    history.calm_down()
    history.check_complete()


@given(**sizes, steps=st.lists(step, max_size=40))
@unhurried
def test_a_stop_after_any_history_leaves_nothing(workers: int, surge: int, preloaded: bool, steps: Steps) -> None:
    history = History(workers, surge, preloaded)
    history.world.settle()
    history.live_through(steps)
    history.world.do(ch.Stop(who="SIGTERM"))
    history.check_stopped()


@given(steps=st.lists(step, max_size=25), stops=st.integers(1, 3), now=st.booleans())
@unhurried
def test_a_start_and_a_stop_at_any_point_end(steps: Steps, stops: int, now: bool) -> None:
    history = History()
    world = history.world
    history.live_through(steps)
    for _ in range(stops):
        if world.exit is None:
            world.do(ch.Stop(who="x", now=now))
    if world.exit == 3:  # the first start has failed before
        assert not world.supervisor.ledger.open()
    else:
        history.check_stopped()


class Daemon(RuleBasedStateMachine):
    """The same troubles as a machine's rules: long histories, that shrink to the few steps that matter."""

    @initialize(**sizes)
    def start(self, workers: int, surge: int, preloaded: bool) -> None:
        self.history = History(workers, surge, preloaded)

    @property
    def over(self) -> bool:
        return self.history.world.exit is not None

    @rule(trouble=trouble)
    def trouble(self, trouble: tuple[str, float]) -> None:
        if not self.over:
            self.history.take(*trouble)

    @rule(number=number, times=st.integers(1, 12))
    def happen(self, number: int, times: int) -> None:
        for _ in range(times):
            if not self.over:
                self.history.take("happen", number % 3)

    @rule(seconds=st.floats(0.001, 20))
    def wait(self, seconds: float) -> None:
        if not self.over:
            self.history.take("advance", seconds)

    def teardown(self) -> None:
        if not hasattr(self, "history") or self.over:
            return
        history = self.history
        history.calm_down()
        if not self.over:  # the first start may have failed of what happened before
            history.check_complete()
            history.world.do(ch.Stop(who="SIGTERM"))
            history.check_stopped()


TestDaemon = Daemon.TestCase
TestDaemon.settings = settings(unhurried, max_examples=effort(40, 1500), stateful_step_count=60)
