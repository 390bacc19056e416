"""The soak in its short form: everything that the long one does, in seconds; and its judgement on made-up runs.

`python -m tests.soak` is the long one.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.effort import effort

from .churn import Deeds
from .run import ANSWERED, CHANGES, Result, Settings, judge, soak
from .sampling import Role, Sample
from .traffic import Lost, Tally

pytestmark = pytest.mark.timeout(effort(300, 1200))
FLASK_MISSING = "the application is one of Flask"


@pytest.mark.parametrize("pool", ["epoll", *effort([], ["prefork", "fork"])])
def test_nothing_fails_nothing_is_left_and_the_counters_agree(pool: str) -> None:
    pytest.importorskip("flask", reason=FLASK_MISSING)
    seconds = effort(7.0, 180.0)
    result = soak(Settings(seconds, pool, rate=60, every=seconds / 20, max_requests=60, sample_every=0.25))
    print(f"\n{result}")
    growing = {f"{name}: {found}" for name, found in result.trends.items() if found.grows}
    assert not [complaint for complaint in result.complaints if complaint not in growing]
    assert result.tally.answered.keys() == ANSWERED
    assert result.tally.left.total()
    assert result.deeds.counts().keys() >= CHANGES
    assert json.loads(json.dumps(result.as_json()))["failures"] == 0
    # In seconds, fragments of the heap and a reload that runs at the end weigh more than any leak: only the long run
    # judges growth. Nothing must have run away all the same.
    assert all(found.low < 50 for found in result.trends.values())


def made_up(**per_minute: float) -> Result:
    """An hour of a run that went well, but for so many MiB, descriptors … that grow in a minute, by role."""
    leak = {"master": 0.0, "launchers": 0.0, "workers": 0.0, **per_minute}
    samples = [
        Sample(
            60.0 * minute,
            {
                name: Role(processes=2, memory=60 + leak[name] * minute, pss=80, descriptors=20, threads=6)
                for name in leak
            },
        )
        for minute in range(60)
    ]
    tally = Tally(Counter(page=100), Counter(GET=100))
    return Result(Settings(3600), 0.0, 600.0, samples, tally, [(0.0, Counter(), 0)], Deeds(), {})


def test_a_run_that_is_flat_has_no_complaints() -> None:
    result = made_up()
    judge(result)
    assert not result.complaints
    assert len(result.trends) == 9


def test_a_master_that_leaks_is_told() -> None:
    result = made_up(master=0.05)
    judge(result)
    (complaint,) = result.complaints
    assert complaint.startswith("memory of the master, MiB: GROWS: +2.45")


def test_a_worker_that_leaks_is_told_by_what_one_of_them_has() -> None:
    result = made_up(workers=0.2)
    judge(result)
    (complaint,) = result.complaints
    assert complaint.startswith("memory of a worker, MiB: GROWS: +4.9")


def test_a_failed_request_and_a_failed_change_are_told() -> None:
    result = made_up()
    result.tally.failures = 1
    result.tally.lost.append(Lost(7.0, "page", "reset", "ECONNRESET"))
    result.deeds.wrong.append("AssertionError: a counter fell")
    judge(result)
    assert result.complaints == [
        "1 requests failed: page: reset (ECONNRESET)",
        "AssertionError: a counter fell",
    ]


def test_a_plot_of_a_run_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from .plot import draw

    result = made_up()
    judge(result)
    result.progress = [(60.0 * minute, Counter(page=minute * 60), 0) for minute in range(60)]
    result.deeds.changes = [(600.0, "reload"), (900.0, "scale"), (1200.0, "restart")]
    draw(result, tmp_path / "soak.svg")
    text = (tmp_path / "soak.svg").read_text("utf-8")
    assert "60 minutes, pool epoll: 100 requests, 0 failed" in text
    assert "Memory" in text
