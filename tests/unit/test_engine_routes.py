"""What an engine counts of a request with a route: bytes, the time it has waited, the CPU time it has been given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.master.insight.counters import slot_counts
from miniwsgi.daemon.routes.variables import CPU_NS, ROUTE
from miniwsgi.metrics import scoreboard as sb

from tests.conformance.case import get
from tests.support.counted_series import series
from tests.support.engines import ENGINES
from tests.unit.conversation_world import NOW, World


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def counted(world: World) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """By route and status: requests, bytes, ns waited, ns computed."""
    names = ["", *world.context.slot.route_names()]
    found = {}
    for cells in series(world.context.slot.cells):
        _method, status, route = sb.series_labels(cells[sb.S_KEY])
        requests = sum(cells[sb.S_BUCKETS :])
        found[names[route], status] = requests, cells[sb.S_SENT], cells[sb.S_QUEUED], cells[sb.S_CPU]
    return found


def ask(world: World, waited_ns: int = 0) -> None:
    world.send(get(b"/"))
    conversation = world.conversation
    assert conversation.receive(NOW) is Outcome.REQUEST
    conversation.ready_ns = NOW
    assert conversation.answer(world.thread, NOW + waited_ns) in {Outcome.DONE, Outcome.PAUSED}
    while conversation.settle() is Outcome.PAUSED:
        assert conversation.flush() is Outcome.RESUME
        conversation.resume(world.thread, NOW + waited_ns + 10**9)
    world.read_all()


def application(*marks: dict[str, Any]) -> Any:
    """Puts these into its environs, one after the other."""
    left = list(marks)

    def call(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ.update(left.pop(0))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"12345"]

    return call


def test_a_route_has_its_bytes_its_waiting_and_its_computing(engine: str) -> None:
    world = World(engine, use=application({ROUTE: "/a"}, {ROUTE: "/a", CPU_NS: 700}, {ROUTE: "/b", CPU_NS: 8}))
    for waited_ns in (10, 20, 30):
        ask(world, waited_ns)
    assert counted(world) == {("/a", 200): (2, 10, 30, 700), ("/b", 200): (1, 5, 30, 8)}


def test_a_request_that_was_looked_at_in_vain_has_them_without_a_route(engine: str) -> None:
    world = World(engine, use=application({ROUTE: "", CPU_NS: 5}, {}))
    ask(world, 40)
    ask(world, 50)
    assert counted(world) == {("", 200): (2, 5, 90, 5)}  # who waits is known of all


@pytest.mark.parametrize("computed", ["7", 7.5, -3, 0, None, [1]])
def test_what_is_no_number_of_ns_counts_as_none(engine: str, computed: object) -> None:
    world = World(engine, use=application({ROUTE: "/a", CPU_NS: computed}))
    ask(world)
    assert counted(world) == {("/a", 200): (1, 5, 0, 0)}


def test_a_result_in_parts_has_waited_once(engine: str) -> None:
    """The pauses in which its client reads are none of a queue."""
    world = World(engine)
    world.pause()
    world.during = lambda: world.conversation._environ.update({ROUTE: "/parts"})  # type: ignore[attr-defined]
    ask(world, 60)
    assert counted(world)["/parts", 200][:3] == (1, 3, 60)


def test_a_request_that_was_answered_in_its_place_counts_under_its_route(engine: str) -> None:
    """Which it has as soon as its framework has found it: start_response need not have been called."""
    assert Flask  # it is imported: that is what makes a site look for its routes
    world = World(engine, routes=("auto",))

    def expire() -> None:
        conversation: Any = world.conversation
        rule = SimpleNamespace(rule="/report/<int:year>")
        conversation._environ["werkzeug.request"] = SimpleNamespace(url_rule=rule)
        conversation._environ.pop(ROUTE, None)
        assert conversation.expire(0, conversation.called_ns + 1)

    world.during = expire
    ask(world)
    assert counted(world) == {("/report/<int:year>", 504): (1, 0, 0, 0)}


def test_many_routes_of_one_answer_are_told_apart(engine: str) -> None:
    """More than an engine remembers of one head."""
    names = [f"/{number % 150}" for number in range(400)]
    world = World(engine, use=application(*({ROUTE: name} for name in names)))
    for _ in names:
        ask(world)
    found = counted_by_number(world)
    assert sum(found.values()) == len(names)
    assert found[sb.OTHER_ROUTE] == sum(int(name[1:]) >= sb.ROUTES for name in names)


def counted_by_number(world: World) -> dict[int, int]:
    found: dict[int, int] = {}
    for cells in series(world.context.slot.cells):
        route = sb.series_labels(cells[sb.S_KEY])[2]
        found[route] = found.get(route, 0) + sum(cells[sb.S_BUCKETS :])
    return found


def test_the_time_in_the_application_is_known_without_a_route_too(engine: str) -> None:
    """Of one that was handed over it is the rest; those that the loop has run have waited before their durations."""
    world = World(engine)
    with world.near, world.far:
        ask(world, waited_ns=3_000_000)
        before = slot_counts(world.context.slot)
        world.context.site.account.served(5_000_000_000, 2)
        after = slot_counts(world.context.slot)
        (took,) = (cells[sb.S_SUM] for cells in series(world.context.slot.cells))
    assert before.run_seconds == pytest.approx((took - 3_000_000) / 1e9)
    assert after.run_seconds == before.run_seconds
    assert after.queue_seconds - before.queue_seconds == pytest.approx(2.5)


def test_who_was_alone_in_a_turn_has_waited_for_nobody(engine: str) -> None:
    world = World(engine)
    with world.near, world.far:
        world.context.site.account.served(500_000_000, 1)
        assert slot_counts(world.context.slot).queue_seconds == 0
