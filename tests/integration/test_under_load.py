"""Flask and Django under load, through everything that an operator or an accident does: no request is lost.

`pytest -s` prints what was counted; `python -m tests.integration.evidence` prints it all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.effort import effort
from tests.support.shops import SHOPS, Shop, Site

from .scenarios import SCENARIOS, describe

pytest.importorskip("flask")
pytest.importorskip("django")


def plays() -> list[object]:
    """Each scenario with each shop; in the short run the shops take turns."""
    return [
        pytest.param(
            shop, scenario,
            marks=() if number % len(SHOPS) == place else pytest.mark.full, id=f"{shop.name}-{scenario.__name__}",
        )
        for place, shop in enumerate(SHOPS)
        for number, scenario in enumerate(SCENARIOS)
    ]  # fmt: skip


@pytest.mark.parametrize(("shop", "scenario"), plays())
def test_no_request_is_lost(shop: Shop, scenario: Callable[[Site], str], tmp_path: Path) -> None:
    counted = scenario(Site(shop, tmp_path, often=effort(2, 10)))
    print(f"\n{shop.name}, {describe(scenario)}\n    {counted}")
