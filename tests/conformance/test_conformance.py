"""Every case of the tables, against a running daemon in each pool.

A case is one test a pool: whole, byte by byte, split, and with a second request behind it, on connections of their
own. The cases about time wait for seconds, so those of a pool run beside each other in one test.
"""

from __future__ import annotations

import dataclasses

import pytest

from tests.conformance.case import Case
from tests.conformance.conftest import Servers
from tests.conformance.runner import Target, Verdict, check
from tests.conformance.server import POOLS, Pool
from tests.conformance.tables import CASES

QUICK = [case for case in CASES if not case.seconds]
EVERYWHERE = ("plain", "small")  # other profiles are about parsing alone: one pool will do


def complaint(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{verdict.case}: {fault}" for verdict in verdicts for fault in verdict.faults[:5])


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_case(pool: Pool, case: Case, servers: Servers) -> None:
    if case.profile not in EVERYWHERE and pool is not POOLS[0]:
        pytest.skip("a matter of parsing, the same in every pool")
    verdicts = check(servers(case.profile).target, [case], pool.effort)
    assert verdicts, "the case was not run"
    assert not complaint(verdicts)


def test_slow_clients(pool: Pool, servers: Servers) -> None:
    if not pool.slow_workers:
        pytest.skip("one connection at a time: the same code as prefork")
    target: Target = servers("small", pool.slow_workers).target
    verdicts: list[Verdict] = []
    for cases, concurrency in pool.slow_batches(CASES):
        verdicts += check(dataclasses.replace(target, concurrency=concurrency), cases)
    assert len(verdicts) == sum(case.seconds is not None for case in CASES)
    for _ in range(2):  # on a busy machine this process may have been the one that was slow
        suspects = [verdict.case for verdict in verdicts if not verdict.passed]
        verdicts = check(dataclasses.replace(target, concurrency=1), suspects)
    assert not complaint(verdicts)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 300
