"""Between "ready" and "serve" a worker takes no request: its master may still decide to do without it, and kill it."""

from __future__ import annotations

import time
from typing import Any

from miniwsgi.metrics.scoreboard import ACCEPTED, HEARTBEAT, SlotState

from tests.support.waiting import wait_for

from .worker_harness import Site, pools


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


@pools()
def test_a_worker_that_is_ready_accepts_only_when_it_is_told(site: Site, pool: str) -> None:
    worker = site.fork(hello, pool, ready=False)
    worker.message("ready")
    client = site.connect().get("/x")
    time.sleep(0.2)  # the subject of the test
    assert worker.slot.state is SlotState.READY
    assert worker.cells[ACCEPTED] == 0
    worker.tell("serve")
    assert client.answer().body == b"/x"


@pools()
def test_a_worker_that_is_not_told_to_serve_can_be_drained(site: Site, pool: str) -> None:
    worker = site.fork(hello, pool, ready=False)
    worker.message("ready")
    client = site.connect().get("/x")
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0
    site.fork(hello, pool)
    assert client.answer().body == b"/x"  # of whichever has taken it


@pools()
def test_a_worker_that_waits_to_serve_is_not_wedged_and_leaves_with_its_master(site: Site, pool: str) -> None:
    worker = site.fork(hello, pool, ready=False)
    worker.message("ready")
    first = worker.cells[HEARTBEAT]
    wait_for(lambda: worker.cells[HEARTBEAT] > first, "its heart beats")
    worker.control.close()
    assert worker.wait() == 0
