"""What the health endpoints say of a daemon in each of its states."""

from __future__ import annotations

import json

import pytest
from miniwsgi.metrics.health import Health, ServicePhase, livez, readyz, silent_for, startupz
from msgspec import structs

SERVING = Health(phase=ServicePhase.SERVING, started=True, ready_workers=4, target_workers=4, ready_min=1)


def health(**changed: object) -> Health:
    return structs.replace(SERVING, **changed)  # type: ignore[arg-type]


STATES = [
    (health(phase=ServicePhase.STARTING, started=False, ready_workers=0), 503, 503, "starting"),
    (health(phase=ServicePhase.STOPPING, started=False, ready_workers=0), 503, 503, "stopping"),
    (health(), 200, 200, ""),
    (health(ready_workers=1), 200, 200, ""),
    (health(ready_workers=0), 200, 503, "0 of 4 workers are ready, 1 needed"),
    (health(ready_workers=1, ready_min=2), 200, 503, "1 of 4 workers is ready, 2 needed"),
    (health(ready_workers=2, ready_min=2), 200, 200, ""),
    (health(silent=(4.0, 3.0, 3.5)), 200, 200, ""),
    (health(silent=(4.0, 3.0, 3.5), ready_min=2), 200, 503, "1 of 4 ready workers responds, 2 needed"),
    (health(silent=(4.0, 3.0, 3.5, 9.0)), 200, 503, "0 of 4 ready workers respond, 1 needed"),
    (health(ready_workers=1, silent=(4.0,)), 200, 503, "0 of 1 ready workers respond, 1 needed"),
    (health(phase=ServicePhase.DRAINING), 200, 503, "draining"),
    (health(phase=ServicePhase.DRAINING, ready_workers=0, target_workers=0), 200, 503, "draining"),
    (health(phase=ServicePhase.STOPPING), 200, 503, "stopping"),
]


@pytest.mark.parametrize(("state", "started", "ready", "reason"), STATES)
def test_each_state_has_its_statuses_and_its_reason(state: Health, started: int, ready: int, reason: str) -> None:
    assert livez(state)[0] == 200
    assert startupz(state)[0] == started
    assert (readyz(state)[0], state.ready, state.reason) == (ready, ready == 200, reason)


@pytest.mark.parametrize("state", [row[0] for row in STATES])
def test_bodies_are_lines_of_json_that_say_the_state_and_why(state: Health) -> None:
    for endpoint, good, bad in (
        (livez, "live", ""),
        (startupz, "started", "not started"),
        (readyz, "ready", "not ready"),
    ):
        status, body = endpoint(state)
        assert body.endswith(b"}\n")
        said = json.loads(body)
        assert said["status"] == (good if status == 200 else bad)
        assert ("reason" in said) == (status != 200)
        assert said["phase"] == state.phase.value
        assert said["workers"] == {
            "ready": state.ready_workers,
            "responding": state.ready_workers - len(state.silent),
            "target": state.target_workers,
            "ready_min": state.ready_min,
        }
    assert json.loads(readyz(state)[1]).get("reason", "") == state.reason


@pytest.mark.parametrize(("age", "silent"), [(None, None), (0.0, None), (2.9, None), (3.0, 3.0), (86400.0, 86400.0)])
def test_a_worker_does_not_respond_once_its_heartbeat_is_old(age: float | None, silent: float | None) -> None:
    assert silent_for(age) == silent
