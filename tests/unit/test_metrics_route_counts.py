"""Routes as the scoreboard has counted them: over all workers, since the start and in the last minute."""

from __future__ import annotations

from itertools import pairwise

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.collector import Collector
from miniwsgi.metrics.families import Histogram
from miniwsgi.metrics.percentiles import percentile
from miniwsgi.metrics.route_counts import RouteHistory
from miniwsgi.metrics.route_names import KNOWN_ROUTES
from miniwsgi.metrics.scoreboard_reading import durations
from miniwsgi.metrics.slot import Slot

from tests.support.counted_series import series
from tests.unit.test_metrics_collector import FACTS, MILLISECOND


@pytest.fixture
def board() -> Board:
    return Board.create()


def count(slot: Slot, route: str, status: int = 200, duration_ns: int = MILLISECOND, requests: int = 1) -> None:
    at = slot.series("GET", status, slot.route(route) if route else sb.NO_ROUTE)
    for cell, value in (
        (sb.S_SUM, duration_ns), (sb.S_SENT, 10), (sb.S_QUEUED, 2_000), (sb.S_CPU, 3_000),
        (sb.S_BUCKETS + sb.bucket(duration_ns), 1),
    ):  # fmt: skip
        slot.cells[at + cell] += value * requests


def test_a_route_is_the_sum_over_workers_methods_and_statuses(board: Board) -> None:
    one, other = board.claim(0), board.claim(1)
    count(one, "/a", 200, requests=5)
    count(one, "/b", 200)
    count(other, "/b", 404, requests=2)  # which has another number there
    count(other, "/a", 500, requests=3)
    count(other, "")
    found = RouteHistory(board, 0.0).look(0.0).routes
    total, lately = found["/a"]
    assert (total.requests, total.errors, total.duration_ns) == (8, 3, 8 * MILLISECOND)
    assert (total.sent_bytes, total.queued_ns, total.cpu_ns) == (80, 16_000, 24_000)
    assert list(total.statuses) == [0, 0, 5, 0, 0, 3]
    assert lately.requests == 0
    assert (found["/b"][0].requests, found[""][0].requests) == (3, 1)


def test_what_was_counted_more_than_a_minute_ago_is_in_the_total_alone(board: Board) -> None:
    slot = board.claim(0)
    history = RouteHistory(board, 0.0)
    count(slot, "/a", 500, requests=7)
    for second in range(1, 101):
        history.take(float(second))
    count(slot, "/a", 200, duration_ns=3 * MILLISECOND, requests=2)
    report = history.look(101.0)
    total, lately = report.routes["/a"]
    assert (total.requests, total.errors) == (9, 7)
    assert (lately.requests, lately.errors, lately.duration_ns) == (2, 0, 6 * MILLISECOND)
    assert 60 <= report.seconds < 67
    assert percentile(sb.BOUNDS_NS, lately.buckets, 0.95).at_most == 3 * MILLISECOND


def test_what_is_remembered_is_bounded(board: Board) -> None:
    slot, history = board.claim(0), RouteHistory(board, 0.0)
    count(slot, "/a")
    for second in range(1, 1001):
        history.take(float(second))
    assert repr(history) == "<RouteHistory snapshots=13>"


def test_routes_beyond_the_first_64_of_a_worker_are_one(board: Board) -> None:
    one, other = board.claim(0), board.claim(1)
    for number in range(70):
        count(one, f"/{number}")
    count(other, "/another")
    found = RouteHistory(board, 0.0).look(0.0).routes
    assert len(found) == sb.ROUTES + 2
    assert found["_OTHER"][0].requests == 6


def test_where_routes_have_taken_the_series_methods_and_statuses_stay_true(board: Board) -> None:
    slot = board.claim(0)
    for status in range(200, 210):
        for number in range(30):
            count(slot, f"/{number}", status)
    seen: dict[int, int] = {}
    for cells in series(slot.cells):
        method, status, _route = sb.series_labels(cells[sb.S_KEY])
        assert method == "GET"
        seen[status] = seen.get(status, 0) + cells[sb.S_BUCKETS + sb.bucket(MILLISECOND)]
    assert seen == dict.fromkeys(range(200, 210), 30)
    assert RouteHistory(board, 0.0).look(0.0).routes["_OTHER"][0].requests == 300 - sb.SERIES_OF_ROUTES
    assert slot.cells[sb.SERIES_LOST] > 0


def test_each_bound_is_at_most_a_quarter_above_the_one_below() -> None:
    assert all(low < high <= 1.25 * low for low, high in pairwise(sb.BOUNDS_NS))


@pytest.mark.parametrize("fine", [False, True])
def test_prometheus_is_told_opentelemetrys_bounds_exactly(board: Board, fine: bool) -> None:
    slot = board.claim(0)
    for duration_ns in (400_000, 500_000, 500_001, 5_000_000, 5_000_001, 10_000_000_000, 10_000_000_001):
        slot.record("GET", 200, duration_ns)
    [family] = [
        one for one in Collector(board).collect(FACTS, fine=fine) if one.name == "http_server_request_duration_seconds"
    ]
    histogram = family.samples[0].value
    below = {
        bound: sum(histogram.counts[: place + 1])
        for place, bound in enumerate(histogram.bounds)  # as `le`
    }
    assert below[0.005] == 4
    assert below[0.01] == 5
    assert below[10.0] == 6
    assert below.get(0.0005) == (2 if fine else None)
    assert sum(histogram.counts) == 7
    assert len(below) == (17 if fine else 14)


def test_prometheus_is_told_what_each_route_costs(board: Board) -> None:
    slot = board.claim(0)
    count(slot, "/a", 200, requests=2)
    count(slot, "/a", 500)
    count(slot, "")
    found = {
        family.name: {dict(sample.labels)["http_route"]: sample.value for sample in family.samples}
        for family in Collector(board).collect(FACTS)
        if family.name.startswith("miniwsgi_route_")
    }
    assert found == {
        "miniwsgi_route_response_bytes_total": {"/a": 30},
        "miniwsgi_route_queue_seconds_total": {"/a": pytest.approx(6e-6)},
        "miniwsgi_route_cpu_seconds_total": {"/a": pytest.approx(9e-6)},
    }


# --- reloads with other routes ---------------------------------------------------------------------------------------


def told(board: Board) -> dict[str, tuple[int, int, int]]:
    """By route: requests as Prometheus has them, and bytes and errors as the control API has."""
    family = next(one for one in Collector(board).collect(FACTS) if one.name == "http_server_request_duration_seconds")
    requests: dict[str, int] = {}
    for sample in family.samples:
        route = dict(sample.labels).get("http_route", "")
        assert isinstance(sample.value, Histogram)
        requests[route] = requests.get(route, 0) + sum(sample.value.counts)
    found = RouteHistory(board, 0.0).look(0.0).routes
    assert {name: total.requests for name, (total, _lately) in found.items()} == requests
    return {name: (requests[name], total.sent_bytes, total.errors) for name, (total, _lately) in found.items()}


def test_routes_of_new_code_have_names_though_old_code_had_as_many(board: Board) -> None:
    """Nothing that was told before is another, or less, when a worker is gone."""
    expected = {}
    for version in range(4):
        slot = Board(board.fd).claim(0)  # as a new worker has it
        for number in range(60):
            name = f"/v{version}/{number}"
            count(slot, name, 500 if number == 7 else 200, requests=number + 1)
            expected[name] = (number + 1, 10 * (number + 1), 8 if number == 7 else 0)
        count(slot, "", 404)
        count(slot, "/always", 200, requests=2)
        expected[""] = version + 1, 10 * (version + 1), 0
        expected["/always"] = 2 * (version + 1), 20 * (version + 1), 0
        assert told(board) == expected
        everything = durations(board.used())
        board.vacate(0)
        assert told(board) == expected
        assert durations(board.used()) == everything
    assert "_OTHER" not in expected


def test_a_daemon_tells_so_many_routes_apart_in_its_life(board: Board) -> None:
    for version in range(6):
        slot = Board(board.fd).claim(0)
        for number in range(60):
            count(slot, f"/v{version}/{number}")
        told(board)
        board.vacate(0)
    found = told(board)
    assert len(found) == KNOWN_ROUTES + 1
    assert found["_OTHER"][0] == 360 - KNOWN_ROUTES


def test_few_routes_stay_where_they_are(board: Board) -> None:
    slot = board.claim(0)
    count(slot, "/a")
    board.vacate(0)
    assert slot.route_names() == ["/a"]


def test_where_statuses_have_taken_the_series_they_are_given_back(board: Board) -> None:
    slot = board.claim(0)
    for number in range(300):
        count(slot, f"/{number % 10}", 200 + number // 10)
    before = told(board)
    board.vacate(0)
    assert slot.series_of_routes() == 0
    assert told(board) == before


def test_exemplars_of_forgotten_routes_are_forgotten(board: Board) -> None:
    slot = board.claim(0)
    for number in range(40):
        count(slot, f"/{number}")
    slot.keep_exemplar(slot.series("GET", 200, slot.route("/3")), MILLISECOND, "1" * 32, "2" * 16, 5)
    board.vacate(0)
    assert slot.exemplars() == []
