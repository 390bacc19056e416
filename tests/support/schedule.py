"""The order of a run on several processes: what takes long begins first, all of them end with what takes milliseconds.

xdist's worksteal deals the tests out in as many runs of equal length as there are processes; who has done his own takes
half of what another one still has, from its end. So each gets a share of the long ones, then half of its unit tests:
those are what is left when one process after another has nothing more to take. The other half is between the long ones,
as it needs a processor while these wait. Tests of a folder share daemons and stay together, those of integration/ by
module. System tests wait for one package to be built, so one process has them.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

TESTS = Path(__file__).parents[1]


class Test(Protocol):
    """What is looked at of a pytest.Item."""

    path: Path


T = TypeVar("T", bound=Test)


def arranged(tests: list[T], processes: int) -> list[T]:
    """The same tests in that order."""
    short: list[T] = []
    together: dict[Hashable, list[T]] = {"system": []}
    for test in tests:
        folder = test.path.relative_to(TESTS).parts[0]
        if folder == "unit":
            short.append(test)
        else:
            together.setdefault(test.path if folder == "integration" else folder, []).append(test)
    shares = [[together.pop("system")], *([] for _ in range(processes - 1))]
    takers = shares[1:] or shares
    for number, group in enumerate(together.values()):
        takers[number % len(takers)].append(group)
    found: list[T] = []
    rest = iter(short)
    for number, share in enumerate(shares):
        dealt = (len(tests) - len(found)) // (processes - number)
        spare = max(0, dealt - sum(map(len, share)))
        between = spare // 2 // max(1, len(share))
        for group in share:
            found += group
            found += islice(rest, between)
        found += islice(rest, spare - between * len(share))
    return [*found, *rest]
