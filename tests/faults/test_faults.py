"""Faults under load on real daemons: what others run is not lost, what is damaged is replaced, nothing is left over.

The short form plays each fault in one pool or two, the long one in all; `python -m tests.faults` prints the counts.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from . import application_faults, kill_faults
from .stage import POOLS, Fault, Stage

FAULTS = (*kill_faults.FAULTS, *application_faults.FAULTS)


def plays() -> list[object]:
    found = []
    for fault in FAULTS:
        for pool in fault.pools:
            marks = () if pool in fault.short else (pytest.mark.full,)
            found.append(pytest.param(fault, pool, marks=marks, id=f"{fault.name}-{pool}"))
    return found


@pytest.mark.parametrize(("fault", "pool"), plays())
def test_a_fault_costs_what_it_may_and_leaves_nothing(fault: Fault, pool: str, tmp_path: Path) -> None:
    with Stage(pool, tmp_path, fault.configuration) as stage:
        stage.play(fault)


@pytest.mark.parametrize(
    ("pool", "number"),
    [
        pytest.param(pool, number, marks=() if short else pytest.mark.full, id=f"{number.name}-{pool}")
        for pool in POOLS
        for number in kill_faults.LETHAL
        for short in [number is signal.SIGKILL and pool in {"epoll", "prefork"}]
    ],
)
def test_a_killed_master_leaves_nothing_in_the_way_of_the_next(
    pool: str, number: signal.Signals, tmp_path: Path
) -> None:
    with Stage(pool, tmp_path) as stage:
        kill_faults.kill_master(stage, number)
