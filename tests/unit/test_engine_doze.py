"""Who watches a loop sleeps without the interpreter while calls are short, and comes back when one lasts."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.metrics.scoreboard import IDLE, RUNNING, T_START, T_STATE, THREAD_CELLS

MS = 1_000_000
THREAD, SLEEP, LONG, LATE = 3, MS, 2 * MS, 10_000 * MS
START = THREAD + T_START

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)


@pytest.fixture
def doze() -> Any:
    return choice.choose("compiled").begin.doze


def places() -> tuple[memoryview, memoryview]:
    """A slot's cells, and what others are told of the sleeper."""
    cells, told = memoryview(bytearray(8 * (THREAD + THREAD_CELLS))).cast("Q"), memoryview(bytearray(24)).cast("q")
    cells[THREAD + T_STATE] = RUNNING
    told[1] = time.monotonic_ns() + SLEEP
    return cells, told


def test_it_comes_back_when_a_call_lasts(doze: Any) -> None:
    cells, told = places()
    cells[START] = time.monotonic_ns()
    doze(cells, THREAD, told, SLEEP, LONG, LATE)
    assert time.monotonic_ns() - cells[START] > LONG


def test_it_sleeps_on_while_others_begin(doze: Any) -> None:
    """Each look tells others when the next one is due; in the end it comes back all the same."""
    cells, told = places()
    first = told[1]
    cells[START] = time.monotonic_ns() + 10_000 * MS  # calls begin all the time
    asleep = threading.Thread(target=doze, args=(cells, THREAD, told, SLEEP, LONG, LATE))
    asleep.start()
    while told[1] == first:
        assert asleep.is_alive(), "and the interpreter is free meanwhile"
    asleep.join()
    assert told[0] + SLEEP == told[1]
    assert told[2] > 0


def test_it_sleeps_on_while_nothing_is_called(doze: Any) -> None:
    """However long ago the last call began. How often it has slept tells for how long it has been so."""
    cells, told = places()
    cells[THREAD + T_STATE], cells[START] = IDLE, time.monotonic_ns() - 100 * MS
    first = told[1]
    looks = doze(cells, THREAD, told, SLEEP, LONG, LATE)
    assert looks > 2
    assert told[1] >= first + (looks - 1) * SLEEP


def test_it_comes_back_when_it_woke_late(doze: Any) -> None:
    cells, told = places()
    told[1] = due = time.monotonic_ns() - 100 * MS
    cells[START] = time.monotonic_ns() + 10_000 * MS
    doze(cells, THREAD, told, SLEEP, LONG, MS)
    assert told[1] == due, "who has it come back looks at what was told"
