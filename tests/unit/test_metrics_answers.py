"""Answers by the class of their status: who gave them, and how many of them lately."""

from __future__ import annotations

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.answers import KEPT_GENERATIONS, Answers, Tally, answers
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.slot import Slot


def answer(slot: Slot, *statuses: int) -> None:
    for status in statuses:
        slot.record("GET", status, 1_000_000)


@pytest.fixture
def board() -> Board:
    return Board.create()


def test_an_error_is_an_error_whoever_made_it(board: Board) -> None:
    slot = board.claim(0)
    answer(slot, 200, 302, 404, 404, 500, 599)  # the application's, also those of a framework that caught an exception
    for status in (400, 431, 503):  # the server's own
        slot.cells[sb.REJECTED_BY + sb.REJECTED_STATUSES.index(status)] += 1
    slot.cells[sb.REJECTED_BY + len(sb.REJECTED_STATUSES)] += 1  # one whose status nobody knows
    assert answers(slot) == Answers(total=10, client_errors=4, server_errors=3)


def test_all_statuses_count_when_the_series_are_used_up(board: Board) -> None:
    slot = board.claim(0)
    answer(slot, *range(200, 200 + sb.SERIES + 20))
    assert answers(slot).total == sb.SERIES + 20


def test_a_worker_has_answered_what_its_slot_counted_since_its_beginning(board: Board) -> None:
    tally = Tally(board)
    slot = board.claim(0)
    answer(slot, 500)
    tally.begin(0, 1)
    answer(slot, 200, 404)
    assert tally.look(1.0).worker(0)[0] == Answers(2, 1, 0)
    tally.end(0)
    tally.begin(0, 2)
    answer(slot, 503)
    looked = tally.look(2.0)
    assert looked.worker(0)[0] == Answers(1, 0, 1)
    assert looked.all[0] == Answers(4, 1, 2)
    assert {number: found for number, (found, _lately) in looked.generations.items()} == {
        1: Answers(2, 1, 0),
        2: Answers(1, 0, 1),
    }
    assert looked.worker(7) == (Answers(), Answers())


def test_the_last_minute_forgets_what_is_older(board: Board) -> None:
    tally = Tally(board)
    slot = board.claim(0)
    tally.begin(0, 1)
    answer(slot, *[500] * 1000)
    for second in range(200):
        tally.take(float(second))
        answer(slot, 500 if second % 2 else 200)
    every, lately = tally.look(199.5).all
    assert every == Answers(1200, 0, 1100)
    assert 60 <= lately.total <= 66
    assert lately.share(lately.server_errors) == pytest.approx(0.5, abs=0.02)
    assert tally.look(199.5).worker(0)[1] == tally.look(199.5).generations[1][1] == lately


def test_a_worker_that_is_younger_than_a_minute_has_not_the_answers_of_its_predecessor(board: Board) -> None:
    tally = Tally(board)
    slot = board.claim(0)
    tally.begin(0, 1)
    tally.take(0.0)
    answer(slot, 500, 500)
    tally.take(5.0)
    tally.end(0)
    tally.begin(0, 2)
    answer(slot, 200)
    looked = tally.look(10.0)
    assert looked.worker(0)[1] == Answers(1, 0, 0)
    assert [lately for _every, lately in looked.generations.values()] == [Answers(2, 0, 2), Answers(1, 0, 0)]


def test_old_generations_are_forgotten_but_not_those_that_have_workers(board: Board) -> None:
    tally = Tally(board)
    board.claim(0)
    tally.begin(0, 1)
    board.claim(1)
    for generation in range(2, 20):
        tally.begin(1, generation)
        tally.end(1)
    kept = list(tally.look(1.0).generations)
    assert kept == [1, *range(20 - KEPT_GENERATIONS, 20)]
