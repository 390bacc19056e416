"""What the service manager is told: readiness, status, signs of life, and for how long it has to be patient."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.master.running.announcer import DETAIL_ROUNDS, Announcer
from miniwsgi.daemon.master.running.watch import ROUND_SECONDS, Watch
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.system.systemd import Notifier
from miniwsgi.manager import changes as ch
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.board import Board

from .supervisor_world import World

SECOND = 1_000_000_000


class Recorder(Notifier):
    """Keeps what is sent."""

    def __init__(self) -> None:
        super().__init__({})
        self.said: list[str] = []

    def send(self, *lines: str, fds: Sequence[int] = ()) -> None:
        self.said += lines

    def take(self, start: str) -> list[str]:
        """What was said with this start, since it was last asked."""
        found = [line.removeprefix(start) for line in self.said if line.startswith(start)]
        self.said = [line for line in self.said if not line.startswith(start)]
        return found


class Told(World):
    """A world whose service manager listens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.manager = Recorder()
        self.watch = Watch(Board.create())
        self.announcer = Announcer(self.manager, self.supervisor, self.watch)

    def do(self, event: ev.Input) -> list[act.Action]:
        actions = super().do(event)
        for action in actions:
            if isinstance(action, act.AnnounceStop):
                self.announcer.stopping(action)
            elif isinstance(action, act.ChangeAccepted) and not action.joined:
                self.announcer.accepted(action.operation)
            elif isinstance(action, act.OperationEnded):
                self.announcer.concluded(action.operation)
        self.announcer.handled(event, actions)
        return actions

    def patience(self) -> list[float]:
        return [int(text) / 1e6 for text in self.manager.take("EXTEND_TIMEOUT_USEC=")]


@pytest.fixture
def world() -> Told:
    return Told(ev.Plan(workers=2, boot_timeout=60, graceful_timeout=30))


def test_ready_is_said_once_with_the_verdict_of_the_first_start(world: Told) -> None:
    world.do(ch.Start(who="test"))
    world.settle(but="ready")
    world.happen("ready 0")
    world.settle(but="ready")
    assert not world.manager.take("READY=1")
    world.happen("ready 1")
    assert len(world.manager.take("READY=1")) == 1
    world.settle()
    assert not world.manager.take("READY=1")
    assert world.manager.take("STATUS=")[-1] == "running: 2 of 2 workers ready, generation 1"


def test_each_step_of_a_start_and_of_a_reload_asks_for_as_much_time_as_it_may_take(world: Told) -> None:
    world.start()
    assert min(world.patience()) == 75
    world.do(ch.Reload(who="test"))
    world.settle(but="fork")
    assert world.patience()
    world.happen("fork")
    world.settle(but="fork")
    assert min(world.patience()) == 75  # for the second worker


def test_a_service_that_just_runs_asks_for_nothing(world: Told) -> None:
    world.start()
    world.patience()
    world.crash(0)
    world.advance(10)
    world.settle()
    assert not world.patience()


def test_a_reload_is_announced_and_ends_with_ready(world: Told) -> None:
    world.start()
    world.manager.said.clear()
    world.do(ch.Reload(who="test"))
    assert [line.partition("=")[0] for line in world.manager.said[:2]] == ["RELOADING", "MONOTONIC_USEC"]
    assert not world.manager.take("READY=1")
    world.settle()
    assert len(world.manager.take("READY=1")) == 1


def test_a_reload_that_fails_is_over_too_and_stays_in_the_status(world: Told) -> None:
    world.start()
    world.do(ch.Reload(who="test"))
    world.manager.said.clear()
    world.happen("prepare")
    world.pending.clear()
    world.do(ev.LauncherFailed(2, Code.IMPORT_RAISED, "app.py does not compile\nat all", ""))
    assert len(world.manager.take("READY=1")) == 1
    status = world.manager.take("STATUS=")[-1]
    assert status.endswith("the last reload failed: app.py does not compile at all")
    world.settle()
    world.do(ch.Reload(who="test"))
    world.settle()
    assert "failed" not in world.manager.take("STATUS=")[-1]


def test_a_start_that_fails_says_why(world: Told) -> None:
    world.do(ch.Start(who="test"))
    world.happen("prepare")
    world.do(ev.LauncherFailed(1, Code.IMPORT_RAISED, "no module named shop", ""))
    assert world.manager.take("STATUS=") == ["failed: no module named shop"]
    assert not world.manager.take("READY=1")


def test_a_start_that_fails_when_some_serve_already_is_never_ready_and_stops(world: Told) -> None:
    world.do(ch.Start(who="test"))
    world.settle(but="ready")
    world.happen("ready 0", "fork 1")
    world.patience()
    world.advance(60)
    assert world.manager.take("STATUS=")[-2:] == [
        "failed: worker 1 (pid 102) was not ready within 60 s (timeouts.boot)",
        "stopping",
    ]
    assert world.manager.take("STOPPING=1")
    assert max(world.patience()) >= 30
    world.settle()
    assert world.exit == 3
    assert not world.manager.take("READY=1")


def test_a_stop_is_announced_with_its_time(world: Told) -> None:
    world.start()
    world.manager.said.clear()
    world.do(ch.Stop(who="test"))
    assert world.manager.take("STOPPING=1")
    assert max(world.patience()) >= 30
    world.settle()
    assert not world.manager.take("READY=1")


def test_load_is_shown_and_renewed_now_and_then(world: Told) -> None:
    world.start()
    loads = iter(["1 requests/s", "2 requests/s", "3 requests/s"])
    world.announcer.detail = lambda: next(loads)
    world.manager.said.clear()
    for _ in range(DETAIL_ROUNDS + 1):
        world.announcer.round()
        world.do(ev.Tick())
    assert [text.rpartition(", ")[2] for text in world.manager.take("STATUS=")] == ["1 requests/s", "2 requests/s"]


def test_draining_workers_are_in_the_status(world: Told) -> None:
    world.start()
    world.do(ch.Scale(who="test", to=1))
    assert world.manager.take("STATUS=")[-1] == "running: 1 of 1 workers ready, 1 draining, generation 1"


# --- the watchdog ------------------------------------------------------------------------------------------------


def beat(world: Told, *ages: float) -> None:
    """A round of the watch, with workers whose loops turned so many seconds ago."""
    now = 1_000 * SECOND
    for slot, age in enumerate(ages):
        world.watch.board.claim(slot).cells[sb.HEARTBEAT] = now - int(age * SECOND)
    list(world.watch.round(range(len(ages)), 30.0, now - int(ROUND_SECONDS * SECOND)))  # no pause before this one
    list(world.watch.round(range(len(ages)), 30.0, now))


@pytest.mark.parametrize(
    ("ages", "alive"),
    [((), True), ((0.1, 0.1), True), ((0.1, 31.0), True), ((31.0, 40.0), False), ((29.0, 31.0), True)],
)
def test_a_sign_of_life_is_withheld_while_every_worker_is_wedged(
    world: Told, ages: tuple[float, ...], alive: bool
) -> None:
    beat(world, *ages)
    world.announcer.alive()
    assert bool(world.manager.take("WATCHDOG=1")) is alive


def test_signs_of_life_come_again_with_the_first_worker_that_turns(world: Told) -> None:
    beat(world, 31.0)
    beat(world, 0.1)
    world.announcer.alive()
    assert world.manager.take("WATCHDOG=1")


def test_who_misses_the_control_api_is_told_why_by_the_line_of_status() -> None:
    world = Told()
    world.start()
    world.announcer.no_control = "cannot listen on unix:/x: the directory\nis missing"
    world.manager.said.clear()
    world.do(ev.Tick())
    (said,) = world.manager.take("STATUS=")
    assert said.endswith(", no control API: cannot listen on unix:/x: the directory is missing")
