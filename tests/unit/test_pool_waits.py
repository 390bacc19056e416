"""How long complete requests have waited for the application, as the epoll pool counts it."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.engine.account import Account
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import BUCKETS, QUEUE_BUCKETS, QUEUE_SUM


@pytest.mark.parametrize(
    ("waited_ns", "requests", "bucket"),
    [(0, 1, 0), (100_000, 4, 0), (100_001, 2, 1), (9_000_000, 3, 25), (60_000_000_001, 1, BUCKETS - 1)],
)
def test_a_wait_is_counted_for_each_request(waited_ns: int, requests: int, bucket: int) -> None:
    slot = Board.create().claim(0)
    cells = slot.cells
    Account(slot, None, None).waited(waited_ns, requests)
    assert cells[QUEUE_SUM] == waited_ns * requests
    assert list(cells[QUEUE_BUCKETS : QUEUE_BUCKETS + BUCKETS]) == [
        requests if number == bucket else 0 for number in range(BUCKETS)
    ]
