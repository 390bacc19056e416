"""The verdict: each state of a daemon, what it is called, and why. Read it beside the table in docs/operations.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from miniwsgi.metrics import verdict as module
from miniwsgi.metrics.answers import Answers
from miniwsgi.metrics.health import NOT_RESPONDING_SECONDS, Health, ServicePhase
from miniwsgi.metrics.verdict import Level, ServiceCondition, verdict
from msgspec import structs

SERVING = Health(phase=ServicePhase.SERVING, started=True, ready_workers=2, target_workers=2, ready_min=1)
WELL = ServiceCondition(SERVING, capacity=16, last_minute=Answers(1000, 500, 4))


def said(**changed: Any) -> str:
    """The verdict on a daemon of two workers that is well but for that."""
    names = set(Health.__struct_fields__)
    health = structs.replace(SERVING, **{name: value for name, value in changed.items() if name in names})
    other = {name: value for name, value in changed.items() if name not in names}
    return str(verdict(structs.replace(WELL, health=health, **other)))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "healthy: 2 of 2 workers ready"),
        ({"ready_workers": 3}, "healthy: 3 of 2 workers ready"),  # while a reload rolls
        # --- nobody is served
        (
            {"phase": ServicePhase.STARTING, "ready_workers": 0, "booting": 2},
            "down: starting, no worker was ready yet (MW2401)",
        ),
        ({"phase": ServicePhase.STOPPING}, "down: stopping (MW2402)"),
        (
            {"phase": ServicePhase.DRAINING, "ready_workers": 0, "target_workers": 0},
            "down: drained, as was asked for (MW2403)",
        ),
        ({"ready_workers": 0, "queued": 3}, "down: none of 2 workers is ready, 3 connections queued (MW3015)"),
        ({"ready_workers": 0, "booting": 2}, "down: none of 2 workers is ready, 2 booting (MW3015)"),
        (
            {"ready_workers": 0, "retry_seconds": 6.4},
            "down: none of 2 workers is ready, the next one is tried in 6 s (MW3015)",
        ),
        # --- workers that do not respond
        (
            {"silent": (5.9, 5.2), "queued": 3},
            "degraded: 2 of 2 workers not responding for 5 s, 3 connections queued (MW3022)",
        ),
        ({"silent": (12.0,)}, "degraded: 1 of 2 workers not responding for 12 s (MW3022)"),
        (
            {"silent": (25.0, 4.0), "queued": 1},
            "degraded: 2 of 2 workers not responding for 4 s, 1 connection queued (MW3022)",
        ),
        ({"silent": (25.0, 10.0)}, "down: 2 of 2 workers not responding for 10 s (MW3022)"),
        # --- workers that are missing
        ({"ready_workers": 1, "booting": 1}, "degraded: 1 of 2 workers ready, 1 booting (MW3015)"),
        (
            {"ready_workers": 1, "retry_seconds": 10.0},
            "degraded: 1 of 2 workers ready, the next one is tried in 10 s (MW3015)",
        ),
        ({"target_workers": 4, "growing": True, "booting": 2}, "healthy: 2 of 4 workers ready"),
        ({"ready_min": 3}, "degraded: 2 of 2 workers are ready, 3 needed (MW3015)"),
        ({"leader": "no worker leads: it failed"}, "degraded: no worker leads: it failed (MW3041)"),
        # --- answers that are errors
        (
            {"last_minute": Answers(800, 10, 100)},
            "degraded: 12 % of the last minute's 800 answers were 5xx (MW5006)",
        ),
        ({"last_minute": Answers(1000, 0, 49)}, "healthy: 2 of 2 workers ready"),
        ({"last_minute": Answers(4, 0, 4)}, "healthy: 2 of 2 workers ready"),
        ({"last_minute": Answers(5, 0, 5)}, "degraded: 100 % of the last minute's 5 answers were 5xx (MW5006)"),
        ({"last_minute": Answers(1000, 1000, 0)}, "healthy: 2 of 2 workers ready"),
        (
            {"new_code": "90 % of generation 2's 10 answers are 5xx", "last_minute": Answers(800, 10, 100)},
            "degraded: 90 % of generation 2's 10 answers are 5xx (MW2106)",
        ),
        # --- lost workers
        ({"crashes": "3 workers were lost within a minute"}, "degraded: 3 workers were lost within a minute (MW3014)"),
        # --- overload
        (
            {"queue_share": 0.8, "queued": 1638},
            "degraded: an accept queue is 80 % full, 1638 connections queued (MW3059)",
        ),
        ({"queue_share": 0.5, "queued": 1024}, "healthy: 2 of 2 workers ready"),
        (
            {"utilization": 1.0, "waiting": 20, "queued": 1},
            "degraded: saturated, 20 requests waiting for a thread, 1 connection queued (MW3051)",
        ),
        (  # a pool without threads
            {"utilization": 1.0, "queued": 16},
            "degraded: saturated, 16 connections queued (MW3051)",
        ),
        ({"utilization": 1.0, "waiting": 15}, "healthy: 2 of 2 workers ready"),  # busy, and it copes
        ({"utilization": 0.5, "waiting": 40}, "healthy: 2 of 2 workers ready"),  # a burst
        (  # stuck is not busy
            {"silent": (11.0, 12.0), "utilization": 1.0, "queued": 16},
            "down: 2 of 2 workers not responding for 11 s, 16 connections queued (MW3022)",
        ),
        # --- several things at once: the weightiest first
        (
            {"silent": (5.0,), "last_minute": Answers(10, 0, 10), "queue_share": 0.9, "queued": 9},
            "degraded: 1 of 2 workers not responding for 5 s, 9 connections queued (MW3022); "
            "100 % of the last minute's 10 answers were 5xx (MW5006); "
            "an accept queue is 90 % full, 9 connections queued (MW3059)",
        ),
        (
            {"ready_workers": 0, "last_minute": Answers(10, 0, 10)},
            "down: none of 2 workers is ready (MW3015); 100 % of the last minute's 10 answers were 5xx (MW5006)",
        ),
    ],
)
def test_each_state_has_its_verdict_and_its_reason(changed: dict[str, Any], expected: str) -> None:
    assert said(**changed) == expected


def test_what_is_healthy_is_ready() -> None:
    """Never healthy where /readyz says 503."""
    for phase in ServicePhase:
        for ready in range(3):
            for silent in range(ready + 1):
                health = structs.replace(SERVING, phase=phase, ready_workers=ready, silent=(5.0,) * silent)
                for growing in (False, True):
                    found = verdict(structs.replace(WELL, health=health, growing=growing))
                    assert health.ready or found.level is not Level.HEALTHY, (health, found)
                    assert len(found.codes) == (0 if found.level is Level.HEALTHY else len(found.reasons))


def test_the_table_of_the_manual_has_its_numbers() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text("utf-8")
    section = page.partition("## The verdict")[2].partition("\n## ")[0]
    for number in (
        f"{NOT_RESPONDING_SECONDS:g} s",
        f"{module.DOWN_SECONDS:g} s",
        f"{100 * module.FAILING_SHARE:g} %",
        f"{module.FAILING_ANSWERS} answers",
    ):
        assert number in section, number
