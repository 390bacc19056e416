"""What is read from the scoreboard, the kernel and its queues."""

from __future__ import annotations

import os
import socket
import time
from array import array

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics import scoreboard_reading as reading
from miniwsgi.metrics.accept_queues import accept_queue
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard_reading import (
    History,
    Window,
    durations,
    packed,
    queue_times,
    running,
    totals,
    unpacked,
)

MILLISECOND = 1_000_000


def board(*requests: int) -> Board:
    """A board whose slots have answered so many requests, of 2 ms each."""
    found = Board.create()
    for number, count in enumerate(requests):
        slot = found.claim(number)
        for _ in range(count):
            slot.record("GET", 200, 2 * MILLISECOND)
    return found


def window_of(history: History, board: Board, now: float) -> Window:
    return history.window(now, durations(board.used()), queue_times(board.used()))


# --- sums ----------------------------------------------------------------------------------------------------------


def test_totals_are_sums_over_all_slots() -> None:
    found = board(3, 4)
    found.slot(1).cells[sb.ERRORS] = 2
    found.slot(0).cells[sb.CONNECTIONS] = 5
    assert totals(found) == reading.Totals(requests=7, errors=2, connections=5)
    assert totals(Board.create()) == reading.Totals()


def test_totals_do_not_fall_when_a_slot_is_vacated() -> None:
    found = board(3)
    found.slot(0).cells[sb.CONNECTIONS] = 5
    found.slot(0).vacate()
    assert totals(found) == reading.Totals(requests=3)


def test_durations_are_those_of_all_series_also_of_the_overflow() -> None:
    found = board(1)
    slot = found.slot(0)
    for status in range(sb.SERIES + 20):
        slot.record("POST", status, 2 * MILLISECOND)
    assert sum(durations([slot])) == 1 + sb.SERIES + 20
    assert durations([slot])[sb.bucket(2 * MILLISECOND)] == 1 + sb.SERIES + 20


def test_queue_times_are_read_from_their_cells() -> None:
    found = board(0, 0)
    found.slot(0).cells[sb.QUEUE_BUCKETS + 2] = 3
    found.slot(1).cells[sb.QUEUE_BUCKETS + 2] = 4
    assert queue_times(found.used()) == (0, 0, 7, *[0] * (sb.BUCKETS - 3))


def test_running_requests_are_counted() -> None:
    slot = board(0).slot(0)
    for thread in range(3):
        at = slot.thread_cell(thread)
        slot.cells[at + sb.T_START], slot.cells[at + sb.T_STATE] = 1, sb.RUNNING if thread != 1 else sb.IDLE
    assert running(slot) == 2


# --- the last minute -----------------------------------------------------------------------------------------------


def test_rates_need_a_past_as_long_as_they_look_back() -> None:
    found = board(0)
    history = History(found, now=100.0)
    assert history.rate(100.5, 1) is None
    for second in range(1, 13):
        for _ in range(10 * second):
            found.slot(0).record("GET", 200, MILLISECOND)
        history.take(100.0 + second)
    assert history.rate(112.0, 1) == 120
    assert history.rate(112.0, 10) == pytest.approx(sum(10 * second for second in range(3, 13)) / 10)
    assert history.rate(112.0, 60) is None


def test_a_slot_that_is_new_has_its_own_rate() -> None:
    found = board(50)
    history = History(found, now=0.0)
    found.claim(1)
    for _ in range(30):
        found.slot(1).record("GET", 200, MILLISECOND)
    assert history.rate(10.0, 10, slot=1) == 3
    assert history.rate(10.0, 10, slot=0) == 0
    assert history.rate(10.0, 10) == 3


def test_the_window_forgets_what_is_older_than_a_minute() -> None:
    found = board(1000)
    history = History(found, now=0.0)
    for second in range(1, 200):
        found.slot(0).record("GET", 200, MILLISECOND)
        history.take(float(second))
    window = window_of(history, found, 199.0)
    assert 60 <= window.seconds <= 65
    assert sum(window.durations) == window.seconds
    assert len(history._snapshots) <= 67


def test_the_window_of_a_young_daemon_is_its_life() -> None:
    found = board(0)
    history = History(found, now=0.0)
    found.slot(0).record("GET", 200, MILLISECOND)
    window = window_of(history, found, 3.0)
    assert (window.seconds, sum(window.durations), sum(window.queue_times)) == (3.0, 1, 0)


def test_reading_a_large_board_is_quick() -> None:
    found = Board.create()
    for number in range(200):
        slot = found.claim(number)
        for status in range(200, 210):
            slot.record("GET", status, MILLISECOND)
    history = History(found, now=0.0)
    started = time.process_time()
    for second in range(5):
        history.take(float(second))
    assert (time.process_time() - started) / 5 < 0.5  # of a slow machine; a tenth of it is what is meant


def test_cells_are_summed_as_one_number() -> None:
    """The largest of cells that a sum of 512 slots may have, each beside others."""
    cells = memoryview(array("Q", [0, 1, 2**54, 3, 2**54 - 1, 0]))
    found = sum(packed(cells, 1, 4) for _ in range(sb.MAX_SLOTS))
    assert unpacked(found, 4) == [sb.MAX_SLOTS * cell for cell in (1, 2**54, 3, 2**54 - 1)]
    assert unpacked(0, 2) == [0, 0]


# --- accept queues -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [0, 3])
def test_the_accept_queue_of_a_tcp_socket(waiting: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=17) as listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(waiting)]
        assert accept_queue(listener) == (waiting, 17)
        for client in clients:
            client.close()


@pytest.mark.parametrize("waiting", [0, 3])
def test_the_accept_queue_of_a_unix_socket(waiting: int) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0miniwsgi-test-{os.getpid()}-{waiting}")
        listener.listen(9)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.connect(listener.getsockname())
        queue = accept_queue(listener)
        assert queue in {(waiting, 9), None}  # None: a kernel without unix_diag
        if queue is None:
            pytest.skip("this kernel has no unix_diag")
        for client in clients:
            client.close()


def test_a_closed_socket_has_no_queue() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    assert accept_queue(listener) is None
