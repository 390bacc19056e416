"""Every case of the tables, against a running daemon in each pool.

Each is sent whole, byte by byte, split, and with a second request behind it, on connections of their own; cut at every
place, without sockets, in tests/unit/test_http_tables.py. Some cases of a section are one test, `python -m
tests.conformance --case NAME` asks one alone. The long run splits each at every place in every pool. The cases about
time wait for seconds, so those of a pool run beside each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby

import pytest

from tests.conformance.case import Case
from tests.conformance.conftest import Servers
from tests.conformance.exchange import AWAY_SECONDS
from tests.conformance.runner import Target, Verdict, check, reachable
from tests.conformance.server import Pool
from tests.conformance.tables import CASES
from tests.support import retries
from tests.support.effort import effort

BATCH = 25
TIMES = 2  # for clients that were late themselves
pytestmark = pytest.mark.timeout(effort(300, 3600))


def batches() -> dict[str, Sequence[Case]]:
    """The quick cases, some of one topic and profile together, by a name for the test."""
    found: dict[str, Sequence[Case]] = {}
    quick = [case for case in CASES if not case.seconds]
    for (topic, profile), group in groupby(quick, lambda case: (case.topic, case.profile)):
        cases = list(group)
        for number, start in enumerate(range(0, len(cases), BATCH), 1):
            found[f"{topic} ({profile}) {number}"] = cases[start : start + BATCH]
    assert sum(map(len, found.values())) == len(quick), "a topic's profiles alternate"
    return found


BATCHES = batches()


def complaint(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{verdict.case}: {fault}" for verdict in verdicts for fault in verdict.faults[:5])


@pytest.mark.parametrize("name", BATCHES)
def test_cases(pool: Pool, name: str, servers: Servers) -> None:
    cases = BATCHES[name]
    target: Target = servers(cases[0].profile).target
    verdicts = check(target, cases, pool.effort)
    assert not complaint(verdicts)
    assert [verdict.case for verdict in verdicts] == [case for case in cases if reachable(case, target)]
    assert all(verdict.deliveries for verdict in verdicts)


def test_slow_clients(pool: Pool, servers: Servers) -> None:
    if not pool.slow_workers:
        pytest.skip("one connection at a time: the same code as prefork")
    target: Target = servers("hasty", pool.slow_workers).target
    verdicts: list[Verdict] = []
    for cases, concurrency in pool.slow_batches(CASES):
        verdicts += check(dataclasses.replace(target, concurrency=concurrency), cases)
    assert len(verdicts) == sum(case.seconds is not None for case in CASES)
    assert not complaint([verdict for verdict in verdicts if verdict.away_seconds < AWAY_SECONDS])
    for _ in range(TIMES):
        late = [verdict for verdict in verdicts if not verdict.passed and verdict.away_seconds >= AWAY_SECONDS]
        if late:
            retries.note(complaint(late), "the clients were late themselves", proven=True)
        verdicts = check(dataclasses.replace(target, concurrency=1), [verdict.case for verdict in late])
    assert not complaint(verdicts)
