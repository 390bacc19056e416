"""The live display of a change: what a frame shows of slots that turn over."""

from __future__ import annotations

from miniwsgi.manager.client.views.turnover_view import frame

from tests.support.ctl_daemon import operation, worker

BEFORE = frozenset(((0, 4700), (1, 4701), (2, 4702)))


def test_slots_are_told_apart_by_their_processes() -> None:
    workers = [
        worker(0, pid=5000, generation=8),
        worker(1),
        worker(2, state="draining"),
        worker(3, state="booting"),
        worker(4, state="waiting", pid=None),
    ]
    found = frame(operation(done=1, total=4, seconds=1.3), workers, BEFORE).plain.splitlines()
    assert found == [
        "reload  ━━━━━━──────────────────  1 of 4  1.3 s",
        "0● 1○ 2◌ 3◐ 4✗ ",
        "● 1 new   ◐ 1 booting   ○ 1 as before   ◌ 1 draining   ✗ 1 lost   ",
    ]


def test_a_change_without_a_number_of_workers() -> None:
    found = frame(operation(kind="drain", total=0), [], BEFORE).plain.splitlines()
    assert found[0] == "drain  ────────────────────────  0 of 0  500 ms"


def test_a_detail_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in frame(operation(detail="\x1b[2J"), [worker(0)], BEFORE).plain
