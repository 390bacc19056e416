"""The watch over the scoreboard: heartbeats that grow old, and what a lost worker was doing."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.master.running.watch import Watch, load, log_lost_requests
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import HEARTBEAT, IDLE, RUNNING, T_START, T_STATE, T_TEXT, WAITING

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def board() -> Board:
    return Board.create()


def watch_at(board: Board, now_ns: int) -> Watch:
    watch = Watch(board)
    assert not list(watch.round([], 30, now_ns))
    return watch


def test_a_heartbeat_that_is_too_old_is_told_with_its_age(board: Board) -> None:
    now = 1000 * SECOND
    board.claim(0).cells[HEARTBEAT] = now - 29 * SECOND
    board.claim(1).cells[HEARTBEAT] = now - 32 * SECOND
    watch = watch_at(board, now - SECOND)
    assert list(watch.round([0, 1], 30, now)) == [(1, 32.0)]


def test_a_slot_without_any_heartbeat_yet_is_left_alone(board: Board) -> None:
    board.claim(2).cells[HEARTBEAT] = 0
    watch = watch_at(board, 999 * SECOND)
    assert not list(watch.round([2], 30, 1000 * SECOND))


def test_zero_turns_it_off(board: Board) -> None:
    board.claim(0).cells[HEARTBEAT] = 1
    watch = watch_at(board, 999 * SECOND)
    assert not list(watch.round([0], 0, 1000 * SECOND))


def test_after_a_pause_of_everybody_nobody_is_wedged_yet(board: Board) -> None:
    now = 2000 * SECOND
    board.claim(0).cells[HEARTBEAT] = now - 600 * SECOND
    watch = watch_at(board, now - 600 * SECOND)
    assert not list(watch.round([0], 30, now))
    board.claim(0).cells[HEARTBEAT] = now + SECOND
    assert not list(watch.round([0], 30, now + SECOND)), "it was merely paused with us"
    board.claim(0).cells[HEARTBEAT] = now - 600 * SECOND
    assert [slot for slot, _age in watch.round([0], 30, now + 2 * SECOND)] == [0]


def test_who_does_not_respond_is_told_with_the_age_of_its_heartbeat(board: Board) -> None:
    now = 3000 * SECOND
    board.claim(0).cells[HEARTBEAT] = now - 5 * SECOND
    board.claim(1).cells[HEARTBEAT] = now - 2 * SECOND
    board.claim(2).cells[HEARTBEAT] = 0
    watch = watch_at(board, now - 2 * SECOND)
    watch.round([], 30, now - SECOND)
    assert [watch.silent_for(slot, now) for slot in (0, 1, 2)] == [5.0, None, None]


def test_after_a_pause_of_everybody_nobody_is_said_not_to_respond(board: Board) -> None:
    now = 4000 * SECOND
    board.claim(0).cells[HEARTBEAT] = now - 600 * SECOND
    watch = watch_at(board, now - 600 * SECOND)
    assert watch.silent_for(0, now) is None, "the first look may come before the first round"
    watch.round([0], 30, now)
    assert watch.silent_for(0, now) is None
    watch.round([0], 30, now + SECOND)
    assert watch.silent_for(0, now + SECOND) == 601.0


def run_in_thread(board: Board, slot: int, thread: int, started_ns: int, text: bytes, state: int = RUNNING) -> None:
    cells, at = board.claim(slot).cells, board.slot(slot).thread_cell(thread)
    cells[at + T_START], cells[at + T_STATE] = started_ns, state
    padded = text.ljust(-len(text) % 8 + len(text), b"\0")
    for number in range(len(padded) // 8):
        cells[at + T_TEXT + number] = int.from_bytes(padded[8 * number : 8 * number + 8], "little")


def test_load_counts_what_runs_and_what_waits(board: Board) -> None:
    run_in_thread(board, 5, 0, 1, b"GET / HTTP/1.1\r\n")
    run_in_thread(board, 5, 1, 1, b"GET / HTTP/1.1\r\n", IDLE)
    run_in_thread(board, 5, 2, 1, b"GET / HTTP/1.1\r\n")
    board.slot(5).cells[WAITING] = 3
    assert load(board, 5) == 5
    assert load(board, 6) == 0


def test_lost_requests_get_their_lines_but_those_that_were_answered(board: Board, tmp_path: Path) -> None:
    run_in_thread(board, 7, 0, 1 * SECOND, b"GET /report?secret=1 HTTP/1.1\r\n")
    run_in_thread(board, 7, 1, 2 * SECOND, b"POST /answered HTTP/1.1\r\n")
    access = AccessLog(str(tmp_path / "access.log"), '%(h)s "%(r)s" %(s)s %(T)s')
    running = board.slot(7).running()
    assert log_lost_requests(access, running, {1}, "504 Gateway Timeout", 31 * SECOND) == 1
    assert access.writer.flush(5)
    assert (tmp_path / "access.log").read_text() == '- "GET /report -" 504 30\n'
    access.writer.close(5)
