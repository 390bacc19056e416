"""Slow requests and lost workers as the master sees them: by its scoreboard, looks and workers' words, on our clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.http.head import Known, parse_request_line
from miniwsgi.daemon.master.control import crashes as crashes_module
from miniwsgi.daemon.master.control import slow_requests as module
from miniwsgi.daemon.master.control.crashes import Crashes
from miniwsgi.daemon.master.control.slow_requests import STACKS_A_SECOND, SlowRequests
from miniwsgi.daemon.master.running.frames import Frame
from miniwsgi.daemon.master.running.look import Look, SeenRequest
from miniwsgi.daemon.master.running.witness import LostWorker
from miniwsgi.daemon.master.running.worker_handle import TakenStacks
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising.exits import ExitReason, ProcessEnd
from miniwsgi.manager import messages as ms
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import T_IDENT

from tests.support.ctl_daemon import latency, route

SECOND = 1_000_000_000
PATH = "/report"
FATAL = "Fatal Python error: Segmentation fault\n\n"


def dump(ident: int, frame: str, *, current: bool = False) -> str:
    """Of one thread in one frame, as faulthandler has it."""
    heading = f"{'Current thread' if current else 'Thread'} 0x{ident:x} (most recent call first):\n"
    return f"{heading}  {f'File {frame}' if frame else '<no Python frame>'}\n"


FRAMES = [Frame("/srv/shop/db.py", 38, "load"), Frame("/srv/shop/views.py", 12, "report")]


class Handle:
    """A worker as the master holds it; as a set may hold it, too."""

    def __init__(self, slot: int) -> None:
        self.slot, self.pid, self.name = slot, 100 + slot, f"worker {slot}"
        self.settings = SimpleNamespace(generation=1, directory="/srv")
        self.answered: set[int] = set()
        self.killed = False
        self.latest_stacks: TakenStacks | None = None


class World:
    """A master with a board, workers that run requests, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1, limit: float = 1.0) -> None:
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now, monotonic_ns=lambda: int(self.now * SECOND))
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(crashes_module, "time", clock)
        monkeypatch.setattr(module, "look", self._look)
        self.board = Board.create()
        self.handles = {slot: Handle(slot) for slot in range(workers)}
        self.threads: dict[tuple[int, int], ThreadAccount] = {}
        self.logged: list[str] = []
        self.events: list[Any] = []
        self.losses: list[str] = []  # as they are told
        self.looked_at: list[int] = []
        self.cpu_ns = 0
        slots = [SimpleNamespace(last_reason=None) for _ in range(workers)]
        self.slots = slots
        table = SimpleNamespace(workers=lambda *_states: list(self.handles.values()), slots=slots)
        log = SimpleNamespace(
            limited=lambda _key, _level, _code, message, **_fields: self.logged.append(message),
            limited_info=lambda _key, message, **_fields: self.logged.append(message),
        )
        master: Any = SimpleNamespace(
            config=SimpleNamespace(log=SimpleNamespace(slow_request=limit)),
            supervisor=SimpleNamespace(table=table),
            fleet=SimpleNamespace(workers=self.handles, board=self.board),
            watch=SimpleNamespace(silent_for=lambda _slot: None),
            log=log,
        )
        recorder: Any = SimpleNamespace(slow=self.events.append, lost=self._lost)
        date = lambda seconds: datetime.fromtimestamp(seconds, UTC)  # noqa: E731
        self.slow = SlowRequests(master, recorder, date)
        self.crashes = Crashes(master, recorder, self.slow, date)

    def _lost(self, record: ms.Crash, said: str) -> None:
        self.events.append(record)
        self.losses.append(said)

    async def _look(self, worker: Handle) -> Look | None:
        self.looked_at.append(worker.slot)
        seen = [
            SeenRequest(
                run.ident, run.request_id, "/report", None, self.cpu_ns, SECOND // 100, "shop/db.py:38 in load", FRAMES
            )
            for run in self.board.slot(worker.slot).running()
        ]
        return Look(seen, SECOND // 20)

    def begin(self, slot: int = 0, thread: int = 0, path: str = "/report") -> None:
        """A request runs from now on."""
        for number in range(thread + 1):
            if (slot, number) not in self.threads:
                made = self.threads[slot, number] = ThreadAccount(number, self.board.claim(slot), 7)
                made.cells[made.cell + T_IDENT] = 100 + number
        line = parse_request_line(f"GET {path}?secret HTTP/1.1".encode(), Known())
        self.threads[slot, thread].begin(None, line, 10 * slot + thread + 1, int(self.now * SECOND))

    def end(self, slot: int = 0, thread: int = 0) -> None:
        self.threads[slot, thread].end()

    def say(
        self, request_id: str, took: float, *, slot: int = 0, left_out: int = 0, status: int = 200, path: str = PATH
    ) -> None:
        """A worker has settled one."""
        message = {
            "kind": "slow", "request_id": request_id, "method": "GET", "path": path, "status": status,
            "route": "/report", "trace_id": None, "seconds": took, "queued": 0.5, "cpu": None, "left_out": left_out,
        }  # fmt: skip
        handle: Any = self.handles[slot]
        self.slow.ended(handle, message)

    def id(self, slot: int = 0, thread: int = 0) -> str:
        return f"{7:016x}-{10 * slot + thread + 1}"

    def after(self, seconds: float) -> None:
        """Time goes by, and the master looks."""
        self.now += seconds

        async def look() -> None:
            self.slow.look()
            await asyncio.gather(*self.slow._asked.values())

        asyncio.run(look())

    def lose(self, reason: ExitReason, end: ProcessEnd, crash: str = "", **handle: Any) -> ms.Crash | None:
        """The worker in slot 0 is gone: what is kept of it."""
        found: Any = self.handles[0]
        for name, value in handle.items():
            setattr(found, name, value)
        total = self.crashes.total
        self.crashes.lost(LostWorker(found, self.board.slot(0).running(), crash, int(self.now * SECOND)))
        self.slots[0].last_reason = reason
        self.crashes.handled(ev.WorkerExited(0, end, oom=reason is ExitReason.OOM))
        return self.crashes.list(1).crashes[0] if self.crashes.total > total else None

    @property
    def requests(self) -> list[ms.Incident]:
        return self.slow.list(100).requests


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_it_is_looked_at_at_once_twice_and_four_times_the_limit(world: World) -> None:
    world.begin()
    for _ in range(12):
        world.after(0.5)
    (one,) = world.requests
    assert [look.age_seconds for look in one.looks] == [1.0, 2.0, 4.0]
    assert (one.where, one.route, one.running, one.path) == ("shop/db.py:38 in load", "/report", True, "/report")
    assert (world.slow.count, len(world.events)) == (1, 1)


def test_what_it_has_computed_is_reckoned_from_its_threads_clock(world: World) -> None:
    world.begin()
    world.after(1.0)
    assert world.requests[0].cpu_seconds == 0.2  # 10 of 50 ms, of one second
    world.cpu_ns = SECOND // 2
    world.after(1.0)
    assert world.requests[0].cpu_seconds == 1.0  # half of the time since


def test_its_worker_completes_it_and_what_was_never_seen_is_there_too(world: World) -> None:
    world.begin()
    world.after(1.5)
    world.end()
    world.say(world.id(), 2.5)
    world.after(0.5)
    world.say("given-by-the-client", 1.2)
    latest, first = world.requests
    assert (first.running, first.status, first.age_seconds, first.queued_seconds) == (False, 200, 2.5, 0.5)
    assert (latest.request_id, latest.status, latest.age_seconds, latest.looks) == ("given-by-the-client", 200, 1.2, [])
    assert world.slow.count == 2


@pytest.mark.parametrize(
    ("others", "looks"),
    [(0, 1), (ms.MAX_INCIDENTS, 1), (0, 5)],  # others since: so many are kept
)
def test_a_word_that_comes_after_a_look_has_found_its_request_gone_is_of_that(
    world: World, others: int, looks: int
) -> None:
    world.begin()
    world.after(1.5)
    world.end()
    for number in range(others):
        world.say(f"other-{number}", 1.2)
    for _ in range(looks):
        world.after(0.5)
    world.say(world.id(), 2.5)
    assert world.slow.count == 1 + others
    assert world.logged[-1] == "worker 0: GET /report took 2.5 s, status 200; it was at shop/db.py:38 in load"


@pytest.mark.parametrize("seen_before", [True, False])
def test_one_that_is_answered_in_its_place_and_runs_on_is_one(world: World, seen_before: bool) -> None:
    world.begin()
    if seen_before:
        world.after(1.5)
    world.say(world.id(), 1.5, status=504)
    for _ in range(3):
        world.after(1.0)
    world.end()
    world.after(1.0)
    (one,) = world.requests
    assert (one.status, one.running, one.age_seconds) == (504, False, 1.5)
    assert world.slow.count == 1


def test_a_storm_costs_so_many_looks_and_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, workers=STACKS_A_SECOND + 3)
    for slot in world.handles:
        world.begin(slot, 0)
        world.begin(slot, 1)
    world.after(1.1)
    world.after(0.2)  # in the same second
    assert len(world.looked_at) == len(set(world.looked_at)) == STACKS_A_SECOND
    assert sum(bool(one.looks) for one in world.requests) == 2 * STACKS_A_SECOND  # one look serves a worker
    for slot, thread in world.threads:
        world.end(slot, thread)
    world.after(0.2)
    world.say("x", 1.5, left_out=17)
    found = world.slow.list(100)
    assert (found.stacks_left_out, found.ends_left_out) == (2 * 3, 17)
    assert "a slow request has no stack: too many were slow at once" in world.logged


def test_the_ring_is_bounded_and_what_is_off_keeps_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(ms.MAX_INCIDENTS + 5):
        world.say(str(number), 1.5)
    assert len(world.slow.list(10_000).requests) == ms.MAX_INCIDENTS
    off = World(monkeypatch, limit=0.0)
    off.begin()
    off.after(100.0)
    assert off.requests == []


# --- slow for its route ---------------------------------------------------------------------------------------------


def usually(world: World, p99: float, requests: int = 100) -> None:
    """How long requests of /report took in the last minute."""
    duration = latency(count=requests, p99=p99)
    figures = route("/report", duration=duration)
    world.slow.usual.figures = lambda: ms.RouteList(60.0, [figures])


def test_what_takes_longer_than_the_routes_p99_is_kept_but_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limit=5.0)
    usually(world, 0.75)
    world.begin()
    world.after(0.6)
    assert world.looked_at == []
    world.after(0.4)
    (one,) = world.requests
    assert (one.limit_seconds, one.route, one.where, len(one.looks)) == (0.75, "/report", "shop/db.py:38 in load", 1)
    world.after(1.0)
    assert len(one.looks) == 2
    assert (world.slow.count, world.events, world.logged) == (0, [], [])
    world.after(4.0)  # slow for everybody
    assert (world.slow.count, len(world.events), len(world.requests)) == (1, 1, 1)


@pytest.mark.parametrize("gone", [False, True])  # a look has found that before its worker's word
def test_it_is_told_if_it_has_passed_the_limit_since_the_last_look(monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    world = World(monkeypatch, limit=5.0)
    usually(world, 0.75)
    world.begin()
    world.after(0.6)
    world.after(4.0)
    world.now += 0.7
    world.end()
    if gone:
        world.after(0.1)
    world.say(world.id(), 5.3)
    assert (world.slow.count, len(world.events), len(world.requests)) == (1, 1, 1)
    assert world.logged == ["worker 0: GET /report has run for 5.3 s (log.slow_request)"]


def test_the_end_of_one_is_kept_if_it_was_slow_for_its_route(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limit=5.0)
    usually(world, 0.75)
    world.after(0.1)
    world.say("usual", 0.7)
    world.say("unusual", 0.8)
    assert [(one.request_id, one.limit_seconds) for one in world.requests] == [("unusual", 0.75)]
    assert (world.slow.count, world.logged) == (0, [])


@pytest.mark.parametrize(("p99", "requests"), [(0.75, 99), (0.01, 100), (9.0, 100)], ids=["few", "fast", "slow"])
def test_a_limit_of_a_route_is_known_from_many_and_within_bounds(
    monkeypatch: pytest.MonkeyPatch, p99: float, requests: int
) -> None:
    world = World(monkeypatch, limit=5.0)
    usually(world, p99, requests)
    world.begin()
    world.after(0.45)
    world.after(0.01)
    assert (world.looked_at, world.requests) == ([], [])
    world.after(4.0)
    assert [one.limit_seconds for one in world.requests] == ([0.5] if p99 == 0.01 else [])


def test_questions_about_routes_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, workers=5, limit=5.0)
    usually(world, 0.75)
    for slot in world.handles:
        world.begin(slot, path="/other")
    world.after(1.1)
    world.after(0.2)
    assert len(world.looked_at) == 1


# --- what was in hand -----------------------------------------------------------------------------------------------


def test_of_several_in_hand_the_oldest_comes_first_where_nobody_knows(world: World) -> None:
    world.begin(thread=0, path="/young")
    world.now -= 3.0
    world.begin(thread=1, path="/old")
    world.now += 4.0
    crash = world.lose(ExitReason.OOM, ProcessEnd(signal="SIGKILL"))
    assert crash is not None
    assert (crash.kind, crash.what, crash.culprit_known) == ("oom", "was killed by SIGKILL (out of memory)", False)
    assert [(one.path, one.age_seconds, one.status) for one in crash.requests] == [
        ("/old", 4.0, 502),
        ("/young", 1.0, 502),
    ]


def test_the_thread_that_crashed_comes_first(world: World) -> None:
    world.begin(thread=0, path="/old")
    world.now += 1.0
    world.begin(thread=1, path="/culprit")
    stacks = FATAL + dump(101, '"/srv/x.py", line 3 in f', current=True)
    crash = world.lose(ExitReason.CRASH, ProcessEnd(signal="SIGSEGV"), stacks)
    assert crash is not None
    assert [one.path for one in crash.requests] == ["/culprit", "/old"]
    assert (crash.culprit_known, crash.requests[0].where) == (True, "x.py:3 in f")


@pytest.mark.parametrize(
    ("frame", "at"),
    [('"/srv/mail.py", line 3 in send', "mail.py:3 in send"), ("", "a thread that runs no Python")],
)
def test_a_thread_of_the_application_that_crashes_is_no_requests_fault(world: World, frame: str, at: str) -> None:
    world.begin(thread=0, path="/innocent")
    stacks = FATAL + dump(100, '"/srv/x.py", line 3 in f') + dump(77, frame, current=True)
    for _ in range(2):
        crash = world.lose(ExitReason.CRASH, ProcessEnd(signal="SIGSEGV"), stacks)
    assert crash is not None
    assert (crash.culprit_known, crash.elsewhere, crash.requests[0].where) == (False, at, "x.py:3 in f")
    assert crash.repeated == ""
    assert f" in a thread without a request, at {at}: it ran GET /innocent for" in world.losses[-1]


def test_a_signal_that_somebody_has_sent_blames_nobody(world: World) -> None:
    world.begin(thread=0, path="/a")
    world.begin(thread=1, path="/b")
    told = "miniwsgi was sent it by process 4711\n" + FATAL
    stacks = told + dump(101, '"/srv/x.py", line 3 in f', current=True)
    crash = world.lose(ExitReason.CRASH, ProcessEnd(signal="SIGSEGV"), stacks)
    assert crash is not None
    assert ([one.path for one in crash.requests], crash.culprit_known) == (["/a", "/b"], False)


def test_an_exit_has_the_stack_of_the_last_look(world: World) -> None:
    world.begin()
    world.after(1.5)
    crash = world.lose(ExitReason.CRASH, ProcessEnd(status=3))
    assert crash is not None
    (one,) = crash.requests
    assert (crash.what, crash.culprit_known) == ("exited with status 3", True)
    assert (one.kind, one.route, one.where) == ("crash", "/report", "shop/db.py:38 in load")
    assert one.looks[0].age_seconds == 1.5
    assert world.requests[0].status == 502  # the slow one has ended so


def test_slow_and_lost_requests_are_shown_alike(world: World) -> None:
    path = "/report/" + 300 * "x"
    world.say("over at once", 1.2, path=path)
    world.begin(path=path)
    world.after(1.5)
    stacks = FATAL + dump(100, '"/srv/shop/db.py", line 38 in load', current=True)
    crash = world.lose(ExitReason.CRASH, ProcessEnd(signal="SIGSEGV"), stacks)
    assert crash is not None
    (lost,), (running, over) = crash.requests, world.requests
    assert lost.path == running.path == over.path
    assert lost.where == running.where == "shop/db.py:38 in load"


def test_a_wedged_worker_has_the_stacks_that_were_taken_before_it_was_killed(world: World) -> None:
    world.begin()
    world.crashes.handled(ev.Wedged(0, 61.2))
    text = dump(100, '"/srv/shop/a.py", line 9 in spin')
    stacks = TakenStacks(text, int((world.now + 2.0) * SECOND))
    world.now += 2.5
    crash = world.lose(ExitReason.WEDGE, ProcessEnd(signal="SIGKILL"), killed=True, latest_stacks=stacks)
    assert crash is not None
    assert (crash.kind, crash.what) == ("wedge", "was wedged, and killed: its loop had not turned for 61 s")
    assert (crash.stacks, crash.stacks_age_seconds) == (text, 0.5)
    assert (crash.requests[0].where, crash.requests[0].status) == ("shop/a.py:9 in spin", 504)


def test_stacks_from_before_a_request_are_not_its_own(world: World) -> None:
    old = TakenStacks(dump(100, '"/a.py", line 9 in f'), int(world.now * SECOND))
    world.now += 1.0
    world.begin()
    world.now += 1.0
    crash = world.lose(ExitReason.CRASH, ProcessEnd(status=3), latest_stacks=old)
    assert crash is not None
    assert (crash.requests[0].stack, crash.stacks_age_seconds) == ([], 2.0)


@pytest.mark.parametrize(
    ("reason", "end", "runs", "kind"),
    [
        (ExitReason.CRASH, ProcessEnd(signal="SIGABRT"), False, "crash"),
        (ExitReason.BOOT, ProcessEnd(signal="SIGSEGV"), False, "crash"),
        (ExitReason.BOOT, ProcessEnd(status=3), False, None),  # it has said why it did not boot
        (ExitReason.TIMEOUT, ProcessEnd(signal="SIGKILL"), True, "timeout"),
        (ExitReason.RELOAD, ProcessEnd(signal="SIGKILL"), True, "timeout"),  # after timeouts.graceful
        (ExitReason.RELOAD, ProcessEnd(), False, None),
        (ExitReason.STOP, ProcessEnd(signal="SIGKILL"), True, None),
    ],
)
def test_what_is_kept(world: World, reason: ExitReason, end: ProcessEnd, runs: bool, kind: str | None) -> None:
    if runs:
        world.begin()
    crash = world.lose(reason, end)
    assert (crash.kind if crash is not None else None) == kind


def test_what_its_worker_has_answered_is_not_lost_with_it(world: World) -> None:
    world.begin(thread=0, path="/answered")
    world.begin(thread=1, path="/cut-off")
    crash = world.lose(ExitReason.TIMEOUT, ProcessEnd(signal="SIGKILL"), answered={0}, killed=True)
    assert crash is not None
    assert [(one.path, one.status) for one in crash.requests] == [("/cut-off", 504)]
    world.end(thread=1)
    assert world.lose(ExitReason.TIMEOUT, ProcessEnd(signal="SIGKILL"), answered={0}, killed=True) is None


def test_three_in_a_minute_are_part_of_the_verdict(world: World) -> None:
    for crashed in range(3):
        assert world.crashes.of_late() == ""
        world.begin(path=f"/report/{crashed}")
        world.now += 10.0
        world.lose(ExitReason.CRASH, ProcessEnd(status=3))
    said = "3 workers were lost within a minute, most of them in the same request (miniwsgictl crashes)"
    assert world.crashes.of_late() == said
    world.now += 50.0
    assert world.crashes.of_late() == ""


def test_a_child_of_pool_fork_is_kept_as_its_worker_tells_it(world: World) -> None:
    handle: Any = world.handles[0]
    run = [3, int(world.now * SECOND), "POST", "/pdf", "1f-9", 0]
    world.now += 1.5
    for how in ({"signal": "SIGSEGV", "timeout": False}, {"signal": "", "timeout": True}):
        stacks = dump(9, '"/srv/shop/pdf.py", line 8 in render', current=True)
        message = {
            "kind": "child-lost",
            "pid": 555,
            "how": "was ended",
            "running": [run],
            "stacks": stacks,
            "oom": False,
        }
        world.crashes.child_lost(handle, {**message, **how})
    latest, first = world.crashes.list(2).crashes
    assert (first.kind, first.pid, first.what) == ("crash", 555, "the process of a connection was ended")
    (one,) = first.requests
    assert (one.path, one.age_seconds, one.status, one.where) == ("/pdf", 1.5, 502, "shop/pdf.py:8 in render")
    assert (latest.kind, latest.requests[0].status) == ("timeout", 504)
    assert latest.repeated == ""  # one of the two is no crash

    stacks = FATAL + dump(8, '"/srv/shop/mail.py", line 5 in send', current=True) + dump(9, '"/srv/a.py", line 1 in f')
    world.crashes.child_lost(handle, {**message, "signal": "SIGSEGV", "timeout": False, "stacks": stacks})
    (latest,) = world.crashes.list(1).crashes  # of a thread that the application has begun
    assert (latest.elsewhere, latest.requests[0].where) == ("shop/mail.py:5 in send", "a.py:1 in f")
