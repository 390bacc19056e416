"""No descriptors, no memory, no room, no clock to rely on, thousands of clients: each fault in its short form.

`python -m tests.faults.resources` does all of them to all pools at full size, and prints what was counted.
"""

from __future__ import annotations

import pytest

from tests.support.effort import FULL

from .catalogue import FAULTS, Fault, name_of
from .stage import Impossible, Stage

CASES = [
    pytest.param(fault, pool, id=f"{name_of(fault)}, {pool}")
    for fault in FAULTS
    for pool in (fault.pools if FULL else fault.short)
]


@pytest.mark.parametrize(("fault", "pool"), CASES)
def test_a_fault_costs_no_more_than_was_stated_and_leaves_nothing(fault: Fault, pool: str) -> None:
    with Stage(pool, full=FULL) as stage:
        try:
            fault.function(stage)
        except Impossible as reason:
            pytest.skip(str(reason))
