"""The screen of `top`: what it shows of what is known, at every size; what keys do; where its snapshots come from."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client.client import Client
from miniwsgi.manager.client.options import Session
from miniwsgi.manager.client.text import clock
from miniwsgi.manager.client.top import keyboard as keys
from miniwsgi.manager.client.top.app import Screen
from miniwsgi.manager.client.top.feed import Feed, Lost, Said, Shown, Taken, Update
from miniwsgi.manager.client.top.model import SORTS, Message, Model, Pane, Snapshot
from miniwsgi.manager.client.top.view import HELP, draw, sparkline, text_lines, wrapped
from rich.console import Console

from tests.support.ctl_daemon import FakeDaemon, counts, event, latency, operation, problem, running, status, worker
from tests.support.waiting import PATIENCE_SECONDS

CROWD = [worker(slot, in_flight=[running(f"/{slot}", slot / 3 + 0.1)], rate=float(slot)) for slot in range(60)]


def route(name: str | None, rate: float = 1.0, errors: float = 0.0) -> ms.RouteFigures:
    return ms.RouteFigures(
        name, 120, 3, {"2xx": 117, "5xx": 3}, 12.0, 0.5, None, 4096, rate, errors, 0.1, 0.004, None, latency()
    )


ROUTES = [route("/orders/<id>", 5.0), route("/slow\x1b" + "x" * 300, 1.0, 0.5), route(None, 9.0)]
EVENTS = [event(number, message=f"worker {number} is ready\x1b") for number in range(1, 100)]
STACK = ms.Stack(
    0,
    4700,
    status().started_at,
    True,
    "Thread 0x1 (most recent call first):\n  # runs GET /0 for 100 ms\n"
    '  File "/usr/lib/python3.11/ssl.py", line 7 in read\n'
    '  File "/srv/shop/shop/db.py", line 38 in load\n  File "/srv/shop/app.py", line 2 in app\n\n'
    'Thread 0x2 (most recent call first):\n  File "/usr/lib/python3.11/threading.py", line 1 in wait\n',
    [],
)


def model_of(
    *workers: ms.Worker, routes: Sequence[ms.RouteFigures] = (), events: Sequence[ms.Event] = (), **changed: object
) -> Model:
    model = Model()
    found = msgspec.structs.replace(status(), **changed)
    model.see(Snapshot(found, list(workers or [worker(0), worker(1)]), True, list(routes), list(events)))
    return model


def lines(model: Model, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain for line in draw(model, width, height, "/run/x.sock", "12:00:00")]


# --- drawing ---------------------------------------------------------------------------------------------


def test_the_screen_at_80_by_24() -> None:
    model = model_of(
        worker(0, in_flight=[running("/report", 12.3), running("/x", 0.02, 2)]), worker(1, state="booting")
    )
    found = [line.rstrip() for line in lines(model)]
    assert found[:17] == [
        " shop.wsgi:application  running  up 3h12m  generation 7  pid 4711      12:00:00",
        " verdict    healthy: 2 of 2 workers ready",
        " workers    2/2 ready  1 busy",
        " requests      812/s  10 s 790  1 min -  total 123456                         █",
        " duration   p50 ≤ 2.5 ms  p95 ≤ 10 ms  p99 ≤ 250 ms                           █",
        " queue time none in the last minute",
        " now        run 3 of 16 (18.8%)  wait 1  conn 64   accept queue 0/2048",
        " answers    4xx 345 (0.2%)  5xx 0 (0%)  exceptions 0  timeouts 0  rejected 0  a…",
        "",
        " SLOT     PID GEN STATE     REQ/S  5XX% RUN  CONN      RSS   CPU RUNNING",
        "    0    4700   7 ready      12.5    0%   2     3 34.0 MiB   41% 12.3 s GET /re…",
        "    1    4701   7 booting    12.5    0%   0     3 34.0 MiB   41%",
        "",
        " RUNNING FOR SLOT THREAD  REQUEST",
        "      12.3 s    0      1  GET /report",
        "     20.0 ms    0      2  GET /x",
        "",
    ]
    assert found[23] == " q quit  ? help  Tab routes  / filter  p pause  Enter worker  s sort  +/- scale"


@pytest.mark.parametrize("width", [40, 60, 80, 81, 100, 132, 250])
@pytest.mark.parametrize("height", [12, 13, 24, 25, 60, 200])
def test_it_fits_every_size(width: int, height: int) -> None:
    wild = model_of(*CROWD, worker(60, in_flight=[running("/" + "ü" * 300 + "\x1b[2J\n", 99.0)]), application="x" * 200)
    wild.message = Message("said " * 100)
    pages = [model_of(), wild, Model()]
    shown = model_of()
    shown.open_text("title " * 50, "\n".join("line\t" * 60 for _ in range(300)))
    helped = model_of()
    helped.open_text("miniwsgictl top", HELP)
    looked_at = model_of(*CROWD)
    looked_at.open_worker()
    looked_at.stack = STACK
    beside = []
    for pane in (Pane.ROUTES, Pane.EVENTS):
        one = model_of(routes=ROUTES, events=EVENTS)
        one.show_pane(pane)
        beside.append(one)
    for model in (*pages, shown, helped, looked_at, *beside):
        found = draw(model, width, height, "/run/x.sock", "12:00:00")
        assert max(line.cell_len for line in found) <= width
        assert len(found) <= height
        assert not [line for line in found if "\x1b" in line.plain or "\n" in line.plain]
        if model.snapshot is not None:
            assert len(found) == height


@pytest.mark.parametrize(("width", "height"), [(39, 24), (80, 11), (1, 1), (5, 3)])
def test_a_screen_that_is_too_small_is_told_so(width: int, height: int) -> None:
    assert "too small: 40×12 at least".startswith(lines(model_of(), width, height)[0])


def test_what_is_not_well_is_on_the_screen() -> None:
    model = model_of(
        worker(0, state="stuck"),
        workers=counts(target=4, ready=1, stuck=1, override=4),
        operations=[operation(9, "scale", detail="to 4 workers", done=1)],
    )
    found = lines(model)
    assert found[2].strip() == "workers    1/4 ready  1 busy  1 stuck  scaled to 4, configured 2"
    assert found[8].startswith(" scale to 4 workers, 1 of 4, for 500 ms (operation 9, by alice")
    model.lose("no daemon listens on /x")
    assert "NO ANSWER" in lines(model)[0]
    assert lines(model)[8] == " no daemon listens on /x"


FIRST = "none of 4 workers is ready, the next one is tried in 12 s, 3 connections queued"


@pytest.mark.parametrize(
    ("reasons", "width", "expected"),
    [
        (["stopping", "an accept queue is 60 % full"], 80, ["verdict    down: stopping; an accept queue is 60 % full"]),
        (["stopping", "x" * 55], 80, ["verdict    down: stopping; …"]),
        (["stopping", "y", "x" * 50], 80, ["verdict    down: stopping; y; …"]),
        (["stopping", "x" * 50, "y" * 9], 80, ["verdict    down: stopping; …"]),
        (
            [FIRST, "y"],
            80,
            [
                "verdict    down: none of 4 workers is ready, the next one is tried in 12 s, 3",
                "           connections queued; …",
            ],
        ),
    ],
)
def test_the_weightiest_reason_is_whole(reasons: list[str], width: int, expected: list[str]) -> None:
    model = model_of(verdict=ms.Verdict("down", reasons))
    found = lines(model, width)
    assert [line[1:].rstrip() for line in found[1 : 1 + len(expected)]] == expected
    assert found[1 + len(expected)].startswith(" workers")


@pytest.mark.parametrize("height", [12, 13, 15, 24])
def test_a_long_verdict_leaves_the_screen_its_size(height: int) -> None:
    model = model_of(
        *[worker(number, in_flight=[running("/report", 12.3)]) for number in range(9)],
        verdict=ms.Verdict("down", [FIRST, FIRST]),
    )
    found = lines(model, 40, height)
    assert len(found) == height
    assert max(map(len, found)) <= 40
    assert " ".join(line[12:].strip() for line in found[1:5]) == f"down: {FIRST}; …"


def test_workers_that_do_not_respond_and_answers_that_are_errors_are_on_the_screen() -> None:
    failing = msgspec.structs.replace(
        status().requests, server_errors=100, last_60s=ms.LastMinute(800, 0.0, 0.125), client_errors=0
    )
    model = model_of(
        worker(0, not_responding_seconds=5.2),
        worker(1, last_60s=ms.LastMinute(800, 0.0, 0.125)),
        verdict=ms.Verdict("degraded", ["1 of 2 workers not responding for 5 s"]),
        workers=counts(not_responding=1),
        requests=failing,
    )
    for width in (80, 200):
        found = lines(model, width)
        assert found[1].strip() == "verdict    degraded: 1 of 2 workers not responding for 5 s"
        assert found[2].strip() == "workers    2/2 ready  1 busy  1 not responding"
        assert "4xx 0 (0%)  5xx 100 (12.5%)" in found[7]
        assert " not responding " in found[10]
        assert " 12.5% " in found[11]


def test_before_the_first_snapshot_it_says_whom_it_asks() -> None:
    assert lines(Model())[1] == "asking /run/x.sock …"


def test_the_selected_worker_is_always_on_the_screen() -> None:
    model = model_of(*CROWD)
    for _ in range(len(CROWD)):
        table = draw(model, 80, 24, "", "")[10:]
        row = next(line for line in table if any(span.style == "reverse" for span in line.spans))
        assert row.plain.split()[0] == str(model.selected)
        model.move(1)


def test_requests_that_run_are_shown_the_oldest_first() -> None:
    found = lines(model_of(*CROWD), 80, 40)
    at = next(number for number, line in enumerate(found) if line.startswith(" RUNNING FOR"))
    assert [line.split()[-1] for line in found[at + 1 : at + 4]] == ["/59", "/58", "/57"]


def test_a_sparkline() -> None:
    assert sparkline([0, 1, 2, 4, 8, None, 8], 10) == "   ▁▂▃▅█ █"
    assert sparkline([0.0, 0.0], 3) == " ▁▁"
    assert sparkline([], 3) == "   "
    assert sparkline(range(0, 100, 10), 4) == "▆▆▇█"


@pytest.mark.parametrize("width", [80, 100])
def test_a_long_name_leaves_the_revision_its_room(width: int) -> None:
    model = model_of(application="shop.deployment.production.wsgi:application", revision="9f8e7d6c5b")
    assert " generation 7 (9f8e7d6c5b) " in lines(model, width)[0]
    assert lines(model, width)[0].startswith(" shop.deploy")


def test_the_help_is_whole_at_80_by_24() -> None:
    model = model_of()
    model.open_text("miniwsgictl top", HELP)
    assert [line.rstrip() for line in lines(model)[1:-1]][: len(HELP.splitlines())] == HELP.splitlines()


# --- the model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "slots"),
    [("SLOT", [0, 1, 2]), ("REQ/S", [1, 2, 0]), ("RUN", [2, 1, 0]), ("RUNNING", [1, 2, 0]), ("RSS", [0, 1, 2])],
)
def test_sorting(column: str, slots: list[int]) -> None:
    model = model_of(
        worker(0, rate=None, rss_bytes=3),
        worker(1, rate=9.0, rss_bytes=2, in_flight=[running("/", 5.0)]),
        worker(2, rate=1.0, rss_bytes=None, in_flight=[running("/", 1.0), running("/", 2.0)]),
    )
    while SORTS[model.sort].column != column:
        model.next_sort()
    assert [found.slot for found in model.workers()] == slots
    model.reversed = True
    assert [found.slot for found in model.workers()] == slots[::-1]


def test_the_selection_moves_within_the_order_and_survives_its_worker() -> None:
    model = model_of(worker(0), worker(1), worker(5))
    model.move(1)
    model.move(1)
    model.move(1)
    assert model.selected == 5
    model.see(Snapshot(status(), [worker(0), worker(4)]))
    assert model.selected == 4
    model.see(Snapshot(status(), []))
    model.move(1)
    assert model.selected_worker() is None
    assert len(lines(model)) == 24


def test_the_past_is_of_even_steps() -> None:
    model = model_of(duration=latency(p99=0.5))
    model.see(Snapshot(status(), [], sampled=False))
    model.see(Snapshot(status(duration=latency(p99=None)), []))  # beyond the last bound
    model.lose("gone")
    assert list(model.rates) == [812.4, 812.4, None]
    assert list(model.slowest) == [0.5, math.inf, None]
    assert sparkline(model.slowest, 3) == "██ "


def test_a_text_is_scrolled_within_its_bounds() -> None:
    model = model_of()
    model.open_text("stack", "\n".join(str(number) for number in range(50)))
    model.scroll(1000, 50 - text_lines(24))
    assert lines(model)[1:3] == ["28", "29"]
    model.scroll(-1000, 50 - text_lines(24))
    assert lines(model)[1] == "0"


def test_long_lines_of_a_text_are_broken_and_none_is_lost() -> None:
    model = model_of()
    model.open_text("stack", '  File "/very' + "/long" * 20 + '.py", line 12 in function')
    found = lines(model)
    assert "".join(line.strip() for line in found[1:3]) == model.text.strip()
    assert wrapped("", 80) == []
    assert wrapped("x" * 100, 40) == ["x" * 40, " " * 8 + "x" * 32, " " * 8 + "x" * 28]


def test_a_filter_shows_what_has_it_and_nothing_else() -> None:
    model = model_of(
        worker(0, in_flight=[running("/report")]),
        worker(1, revision="a1b2c3"),
        worker(12),
        routes=ROUTES,
        events=EVENTS,
    )
    model.typing = True
    for key in "Report":
        model.type(key)
    assert [found.slot for found in model.workers()] == [0]
    assert lines(model)[-1].startswith(" filter: Report_ ")
    for key in [*["backspace"] * 6, *"B2", "enter"]:
        model.type(key)
    assert not model.typing
    assert [found.slot for found in model.workers()] == [1]
    assert model.selected == 1
    assert lines(model)[-1].startswith(" filter: B2  /: change it")
    model.filter = "orders"
    assert [found.name for found in model.routes()] == ["/orders/<id>"]
    model.filter = "worker 42"
    assert [found.id for found in model.events()] == [42]
    for pane in Pane:
        model.show_pane(pane)
        model.filter = "nowhere"
        assert len(lines(model)) == 24
        assert lines(model)[10].strip() == "nothing has 'nowhere' in it"
    model.type("esc")
    assert len(model.workers()) == 3


def test_a_paused_screen_stays_and_then_shows_the_latest() -> None:
    model = model_of(worker(0))
    model.pause()
    model.see(Snapshot(status(), [worker(3)]))
    assert [found.slot for found in model.workers()] == [0]
    found = lines(model)
    assert found[0].startswith(" PAUSED  shop.wsgi")
    assert found[-1] == " PAUSED  p: go on"
    assert len(model.rates) == 2
    model.lose("gone")
    assert "NO ANSWER" in lines(model)[0]
    model.pause()
    assert [found.slot for found in model.workers()] == [3]


def test_routes_are_a_pane_in_an_order_of_ones_own() -> None:
    model = model_of(routes=ROUTES)
    model.next_pane()
    found = lines(model)
    assert found[9].split()[0] == "REQ/S"
    assert [line.split()[-1][:12] for line in found[10:13]] == ["(none)", "/orders/<id>", "/slow\\x1bxxx"]
    model.next_sort()
    model.next_sort()
    assert model.route_order == "errors"
    assert "50" in lines(model)[10]
    assert max(map(len, lines(model, 60, 20))) <= 60
    assert "no requests yet" in lines(_on(Pane.ROUTES))[10]


def test_events_are_a_pane_the_latest_first_that_scrolls() -> None:
    model = model_of(events=EVENTS)
    model.next_pane(-1)
    found = lines(model)
    assert found[10].rstrip().endswith("worker 99 is ready\\x1b")
    model.move(3)
    assert lines(model)[10].rstrip().endswith("worker 96 is ready\\x1b")
    model.move(10_000)
    assert lines(model)[22].rstrip().endswith("worker 1 is ready\\x1b")
    assert "nothing has happened" in lines(_on(Pane.EVENTS))[10]
    long = model_of(events=[event(1), event(2, message="worker 3 has been running for 5.0 s GET " + "/report" * 5)])
    long.show_pane(Pane.EVENTS)
    assert " ".join(line.strip() for line in lines(long)[10:12]).endswith("for 5.0 s GET " + "/report" * 5)
    assert max(map(len, lines(long, 60, 20))) <= 60


def test_events_are_found_by_their_code() -> None:
    model = model_of(events=[event(1, code="MW1234"), event(2)])
    model.filter = "mw1234"
    assert [found.id for found in model.events()] == [1]


def test_who_was_replaced_meanwhile_is_not_killed_in_the_others_place() -> None:
    screen = Screen(Console(), Session("/run/x.sock"), 1.0)
    screen.model.see(Snapshot(status(), [worker(0)]))
    screen.model.pause()
    screen._press("K")
    assert screen.model.question == "kill worker 0 (pid 4700) with what it runs?"
    for pid, asked in ((4700, True), (4999, False)):
        screen._publish(Snapshot(status(), [worker(0, pid=pid)]))
        screen._take_updates()
        assert bool(screen.model.question) is asked
    assert "no longer pid 4700" in screen.model.message.said
    screen._press("K")
    assert "pid 4999" in screen.model.question


def _on(pane: Pane) -> Model:
    model = model_of()
    model.show_pane(pane)
    return model


def test_a_worker_has_a_page_with_its_threads_and_where_they_are() -> None:
    model = model_of(worker(0, in_flight=[running("/0", 0.1, 3)], revision="a1b2c3"), worker(1))
    model.open_worker()
    found = [line.rstrip() for line in lines(model, height=60)]
    assert found[0].strip() == "worker 0  pid 4700  generation 7 (a1b2c3)  ready"
    assert found[2] == "      3      100 ms  GET /0"
    assert "its stacks are being taken" in "\n".join(found)
    model.stack = STACK
    found = [line.rstrip() for line in lines(model, height=60)]
    assert found[2] == "      3      100 ms  GET /0  at shop/db.py:38 in load"
    assert any(line.startswith('  File "/srv/shop/app.py"') for line in found)
    assert found[1].endswith(f"REQUEST (where: as of {clock(STACK.taken_at)})")
    model.filter = "nowhere"
    assert lines(model)[0].split()[:2] == ["worker", "0"]
    model.see(Snapshot(status(), [worker(0, pid=4999, in_flight=[running("/0", 0.1, 3)]), worker(1)]))
    assert lines(model)[2].rstrip() == "      3      100 ms  GET /0"  # those stacks are of another process
    model.message = Message("the daemon did not answer", bad=True)
    assert lines(model)[-1].strip() == "the daemon did not answer"
    model.see(Snapshot(status(), [worker(0, state="waiting", pid=None, generation=None), worker(1)]))
    assert lines(model)[0].strip() == "worker 0  pid -  generation -  waiting"
    model.see(Snapshot(status(), [worker(1)]))
    assert lines(model)[0].strip() == "worker 0: gone"
    assert model.selected_worker() is None
    model.leave_worker()
    assert model.selected == 1


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 20), (80, 24)])
def test_of_64_workers_each_can_be_looked_at(width: int, height: int) -> None:
    model = model_of(*[worker(slot) for slot in range(64)])
    seen = set()
    for _ in range(64):
        seen |= {line.split()[0] for line in lines(model, width, height)[10:-1] if line.split()[0:1]}
        model.move(1)
    assert {str(slot) for slot in range(64)} <= seen


# --- keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"q", ["q"]),
        (b"jjk", ["j", "j", "k"]),
        (b"\x1b[A\x1bOB", [keys.UP, keys.DOWN]),
        (b"\x1b[5~x\x1b[6~", [keys.PAGE_UP, "x", keys.PAGE_DOWN]),
        (b"\x1b", [keys.ESCAPE]),
        (b"\r", [keys.ENTER]),
        (b"\t\x1b[Z\x7f\x08", [keys.TAB, keys.BACK_TAB, keys.BACKSPACE, keys.BACKSPACE]),
        (b"\x1b[1;5C\x1b[200~q", ["q"]),
        (b"\x1b[", []),
        (b"\x00\x07\xff\xc3\xa4", []),
    ],
)
def test_keys(data: bytes, found: list[str]) -> None:
    assert keys.parse(data) == found


# --- the feed --------------------------------------------------------------------------------------------


class Watcher:
    """A feed and what it published."""

    def __init__(self, path: Path, interval_seconds: float = 0.05) -> None:
        self.updates: SimpleQueue[Update] = SimpleQueue()
        self.feed = Feed(str(path), interval_seconds, self.updates.put)

    def __enter__(self) -> Watcher:
        self.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.stop()
        self.feed.join(60)
        assert not self.feed.is_alive()

    def wait(self, kind: type[Update]) -> Update:
        """The next update of a kind. Raises queue.Empty."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            update = self.updates.get(timeout=max(0.01, deadline - time.monotonic()))
            if isinstance(update, kind):
                return update


def test_snapshots_go_on_through_a_restart_of_the_daemon(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s"), Watcher(tmp_path / "s") as watcher:
        assert watcher.wait(Snapshot).status.pid == 4711  # type: ignore[union-attr]
    with Watcher(tmp_path / "s") as watcher:
        assert "no daemon listens" in watcher.wait(Lost).why  # type: ignore[union-attr]
        with FakeDaemon(tmp_path / "s"):
            assert isinstance(watcher.wait(Snapshot), Snapshot)


def test_routes_and_events_are_asked_for_while_they_are_looked_at(tmp_path: Path) -> None:
    heard = [ms.EventList(EVENTS[:3], 3, 0), ms.EventList(EVENTS[3:5], 5, 0), ms.EventList([], 5, 0)]
    answers = {"GET /routes": ms.RouteList(60.0, ROUTES), "GET /events": heard}
    with FakeDaemon(tmp_path / "s", answers) as daemon, Watcher(tmp_path / "s", 30.0) as watcher:
        watcher.wait(Snapshot)
        assert not [asked for asked in daemon.asked if "routes" in asked.target or "events" in asked.target]
        found: list[Snapshot] = []
        for pane in (Pane.ROUTES, Pane.EVENTS, Pane.EVENTS):
            watcher.feed.pane = pane
            watcher.feed.look()
            update = watcher.wait(Snapshot)
            assert isinstance(update, Snapshot)
            found.append(update)
    assert [(len(one.routes), [event.id for event in one.events]) for one in found] == [
        (3, []),
        (0, [1, 2, 3]),
        (0, [1, 2, 3, 4, 5]),
    ]


def test_an_order_is_followed_to_its_verdict(tmp_path: Path) -> None:
    failed = operation(state="failed", error="boom", traceback="Traceback:\n  here")
    answers = {
        "POST /reload": operation(),
        "GET /operations/7": [operation(done=1), failed],
        "POST /scale": operation(8, "scale", detail="to 3 workers", state="succeeded"),
        "POST /drain": problem(409, "not now"),
        "GET /workers/1/stack": ms.Stack(1, 4701, status().started_at, True, "File x", [running()]),
    }
    with FakeDaemon(tmp_path / "s", answers) as daemon, Watcher(tmp_path / "s") as watcher:
        watcher.feed.order(Client.reload)
        assert watcher.wait(Said) == Said("reload …")
        verdict = watcher.wait(Said)
        assert isinstance(verdict, Said)
        assert (verdict.bad, verdict.text.startswith("reload failed after 500 ms: boom")) == (True, True)
        shown = watcher.wait(Shown)
        assert isinstance(shown, Shown)
        assert shown.text.endswith("Traceback:\n  here")
        watcher.feed.order(lambda client: client.scale(ms.ScaleRequest(workers="+1")))
        assert watcher.wait(Said) == Said("scale to 3 workers …")
        assert watcher.wait(Said) == Said("scale to 3 workers: done in 500 ms (operation 8)")
        watcher.feed.order(Client.drain)
        assert watcher.wait(Said) == Said("not now", bad=True)
        watcher.feed.order(lambda client: client.stack(1))
        assert watcher.wait(Taken) == Taken(answers["GET /workers/1/stack"])  # type: ignore[arg-type]
        assert daemon.bodies("POST", "/v1/scale")[0]["workers"] == "+1"
