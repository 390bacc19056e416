"""How kept-alive connections find their way to workers that have fewer: the rule, and histories of it."""

from __future__ import annotations

import random
import time
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.worker.balance import SILENT_NS, UNEVEN, Balance, surplus
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import CONNECTIONS, HEARTBEAT, STATE, SlotState


@pytest.mark.parametrize(
    ("mine", "others", "ended"),
    [
        (8, [0, 0], 1),
        (8, [], 0),  # there is nobody else
        (3, [1], 0),  # not by more than two
        (4, [1], 1),
        (100, [80], 0),  # not by more than a quarter
        (100, [79], 1),
        (1000, [0, 0], 66),
        (10, [10, 0], 1),
        (6, [0, 11], 1),
        (5, [0, 40], 0),  # it has no more than its share: the other one has too many
        (4, [0] * 10, 1),
    ],
)
def test_what_is_too_much_and_how_much_of_it_goes_at_once(mine: int, others: list[int], ended: int) -> None:
    assert surplus(mine, others) == ended


class Workers:
    """Loops that look in turn. A client whose connection ended is back some looks later, as the workers take it."""

    def __init__(self, counts: list[int], absent_looks: int) -> None:
        self.counts = counts
        self.absent_looks = absent_looks
        self.coming: list[int] = []  # when
        self.now = 0
        self.ended = 0

    def look(self, chance: random.Random) -> None:
        self.now += 1
        for index in chance.sample(range(len(self.counts)), len(self.counts)):
            others = [count for at, count in enumerate(self.counts) if at != index]
            gone = surplus(self.counts[index], others)
            self.counts[index] -= gone
            self.ended += gone
            self.coming += [self.now + chance.randint(0, self.absent_looks)] * gone
        for _ in [at for at in self.coming if at <= self.now]:
            taking = [at for at, count in enumerate(self.counts) if count < min(self.counts) + UNEVEN]
            self.counts[chance.choice(taking)] += 1  # Balance.wait
        self.coming = [at for at in self.coming if at > self.now]


@pytest.mark.parametrize("absent_looks", [0, 3, 30])
@pytest.mark.parametrize(
    "counts", [[8, 0, 0], [4, 4, 0], [0] * 7 + [50], [900, 0], [30, 31, 29, 0], [5] * 9 + [0], [200, 100, 50, 0]]
)
def test_connections_are_spread_soon_and_then_stay(counts: list[int], absent_looks: int) -> None:
    chance = random.Random(f"{counts}{absent_looks}")
    before, found = sum(counts), Workers(list(counts), absent_looks)
    for _ in range(150 + 2 * absent_looks):
        found.look(chance)
    assert sum(found.counts) + len(found.coming) == before
    assert max(found.counts) <= max(min(found.counts) + UNEVEN, min(found.counts) * 1.25), found.counts
    moved = found.ended
    for _ in range(100):
        found.look(chance)
    assert found.ended == moved, "nobody is sent to and fro"


@pytest.mark.parametrize("seed", range(20))
def test_no_connection_is_sent_to_and_fro_by_any_number_of_workers(seed: int) -> None:
    """Each one that ends goes to a worker with fewer: what is moved is at most what was too much."""
    chance = random.Random(seed)
    found = Workers([chance.randint(0, 120) for _ in range(chance.randint(2, 12))], 0)
    too_much = sum(max(0, count - sum(found.counts) // len(found.counts)) for count in found.counts)
    for _ in range(300):
        found.look(chance)
    assert found.ended <= too_much
    assert not any(surplus(n, found.counts[:at] + found.counts[at + 1 :]) for at, n in enumerate(found.counts))


def test_only_those_count_that_would_take_it() -> None:
    board = Board.create()
    now = time.monotonic_ns()
    beats = ((SlotState.READY, now), (SlotState.DRAINING, now), (SlotState.READY, now - 2 * SILENT_NS))
    for index, (state, beat) in enumerate(beats):
        cells = board.claim(index).cells
        cells[STATE], cells[HEARTBEAT], cells[CONNECTIONS] = state, beat, 0
    settings = SimpleNamespace(connections=10000, pool="epoll", threads=4)
    context: Any = SimpleNamespace(settings=settings, board=board, slot=board.slot(0))
    balance = Balance(context)
    assert balance.surplus(8) == 0, "one drains, the loop of the other stands still"
    board.slot(2).cells[HEARTBEAT] = time.monotonic_ns()
    assert balance.surplus(8) == 1
    assert balance.surplus(UNEVEN) == 0


def test_a_worker_leaves_connections_to_one_that_has_come_since() -> None:
    board = Board.create()
    settings = SimpleNamespace(connections=10000, pool="epoll", threads=4)
    board.claim(0).cells[STATE] = SlotState.READY
    context: Any = SimpleNamespace(settings=settings, board=board, slot=board.slot(0))
    balance = Balance(context)
    assert balance.wait(8) == 0.0, "there is nobody else, and it does not compare with itself"
    cells = board.claim(1).cells
    cells[STATE], cells[HEARTBEAT], cells[CONNECTIONS] = SlotState.READY, time.monotonic_ns(), 6
    assert [balance.wait(mine) > 0 for mine in (7, 8)] == [False, True]
