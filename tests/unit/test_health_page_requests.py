"""Routes and requests on the status page: by method, route and numbers, and nothing else of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from miniwsgi.manager import messages as ms
from miniwsgi.manager.port.public_requests import (
    NO_ROUTE,
    SHOWN_REQUESTS,
    SHOWN_ROUTES,
    request_rows,
    route_rows,
)
from miniwsgi.metrics import status_page

from tests.support.ctl_daemon import T0, route
from tests.unit.test_health_status_page import read, shown

PAGE = status_page.load()


def incident(began: float = 0.0, **changed: Any) -> ms.Incident:
    """A slow request; what nobody but those who may ask the control API is to know says "secret"."""
    found = ms.Incident(
        at=T0 + timedelta(seconds=began),
        kind="slow",
        method="GET",
        path="/secret/path",
        route="/orders/<id>",
        request_id="secret-id",
        trace_id="secret-trace",
        slot=2,
        pid=4702,
        generation=7,
        thread=1,
        age_seconds=4.25,
        running=False,
        queued_seconds=0.5,
        cpu_seconds=None,
        status=200,
        where="secret.py:3 in secret",
        stack=[ms.StackFrame("secret.py", 3, "secret")],
        looks=[ms.Look(1.0, [ms.StackFrame("secret.py", 3, "secret")])],
        limit_seconds=1.0,
    )
    return msgspec.structs.replace(found, **changed)


def crash(*requests: ms.Incident, kind: ms.LossKind = "crash") -> ms.Crash:
    return ms.Crash(
        1, T0, kind, "secret what", 2, 4702, 7, list(requests), True, "secret stacks", 1.0, "secret GET /secret/path"
    )


def test_the_busiest_routes_are_shown_and_those_without_one_have_a_name() -> None:
    found = ms.RouteList(60.0, [route("/<b>"), route(None, rate=3.0), route("_OTHER"), *[route()] * SHOWN_ROUTES])
    rows = route_rows(found)
    assert [row["name"] for row in rows[:4]] == ["/<b>", NO_ROUTE, "(all others)", "/orders/<id>"]
    assert len(rows) == SHOWN_ROUTES
    page = read(routes=found)
    assert ["/<b>", "16.7", "0.2 %", "≤ 2.5 ms", "≤ 10 ms", "≤ 250 ms", "250 µs", "8 %", "1 000", "2"] in page.rows
    assert "/<b>" not in PAGE.fill(shown(routes=found)).decode()


def test_an_application_without_routes_has_no_table_of_them() -> None:
    assert route_rows(ms.RouteList(60.0, [route(None)])) == route_rows(ms.RouteList(60.0, [])) == []
    assert read(routes=ms.RouteList(60.0, [])).hidden == read().hidden


def test_requests_are_shown_once_the_latest_first_and_lost_ones_as_that() -> None:
    slow = [incident(number) for number in range(3)]
    lost = crash(msgspec.structs.replace(slow[1], kind="wedge", status=502))
    rows = request_rows(slow, [lost])
    assert [(row["what"], row["level"], row["status"]) for row in rows] == [
        ("slow", "quiet", 200),
        ("worker wedged", "bad", 502),
        ("slow", "quiet", 200),
    ]
    assert len(request_rows([incident(number) for number in range(50)], [])) == SHOWN_REQUESTS
    assert request_rows([incident(running=True, status=None)], [])[0]["what"] == "runs"
    assert request_rows([incident(status=503)], [])[0]["level"] == "bad"


def test_slow_requests_do_not_push_out_those_that_lost_their_worker() -> None:
    lost = crash(incident(1, kind="crash", status=502, route=None))
    rows = request_rows([incident(10 + number) for number in range(50)], [lost])
    assert len(rows) == SHOWN_REQUESTS
    assert (rows[-1]["what"], rows[-1]["request"]) == ("worker crashed", "GET (route not known)")


def test_of_a_request_there_are_method_route_and_numbers() -> None:
    found = [incident(1, method="BREW", route=None), incident()]
    page = read(slow=found, lost=[crash(incident(2, kind="oom", status=None, thread=3))])
    requests = [row[1:] for row in page.rows if len(row) == 8 and row[0][2:3] == ":"]
    assert requests == [
        ["GET /orders/<id>", "out of memory", "4.2 s", "500 ms", "–", "–", "2"],
        [f"_OTHER {NO_ROUTE}", "slow", "4.2 s", "500 ms", "–", "200", "2"],
        ["GET /orders/<id>", "slow", "4.2 s", "500 ms", "–", "200", "2"],
    ]
    source = PAGE.fill(shown(slow=found, lost=[crash(*found)])).decode()
    assert "secret" not in source
    assert "BREW" not in source
