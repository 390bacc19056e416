"""The daemon's health, as it is gathered from the supervisor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from miniwsgi.codes import Code
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.telemetry.condition import health_of
from miniwsgi.manager import changes as ch
from miniwsgi.metrics.health import readyz, startupz

from tests.unit.supervisor_world import World


def statuses(world: World) -> tuple[int, int]:
    """Of /startupz and /readyz."""
    master: Any = SimpleNamespace(
        supervisor=world.supervisor,
        watch=SimpleNamespace(silent_for=lambda _slot: None),
        config=SimpleNamespace(metrics=SimpleNamespace(ready_min=1)),
    )
    health = health_of(master)
    return startupz(health)[0], readyz(health)[0]


def test_the_service_is_ready_with_the_verdict_of_its_start_as_systemd_is_told() -> None:
    world = World()
    world.do(ch.Start(who="test"))
    world.happen("prepare", "boot", "fork 0")
    assert statuses(world) == (503, 503)
    world.happen("ready 0")
    assert statuses(world) == (200, 503)  # the start may still fail
    world.settle()
    assert statuses(world) == (200, 200)


def test_a_reload_leaves_it_ready() -> None:
    world = World()
    world.start()
    world.do(ch.Reload(who="test"))
    assert statuses(world) == (200, 200)
    world.do(ev.PrepareFailed(2, Code.IMPORT_RAISED, "broken"))
    assert statuses(world) == (200, 200)
