"""Which handler a request is for, and what its query and Accept may say."""

from __future__ import annotations

from typing import Any

import pytest
from miniwsgi.manager.http.exchange import Answer, HttpRefusal
from miniwsgi.manager.http.routing import (
    Parameter,
    Route,
    Router,
    check_accept,
    parse_query,
    quality,
    switch,
    whole_number,
)

JSON = "application/json"


async def handler() -> Answer:
    return Answer(200)


ROUTER = Router[Any](
    [
        Route("GET", "/v1/workers", handler, JSON),
        Route("GET", "/v1/workers/{slot}", handler, JSON),
        Route("PUT", "/v1/workers/{slot}", handler, JSON),
        Route("POST", "/v1/stop", handler, JSON),
        Route("GET", "/v1/openapi.json", handler, JSON),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found", "numbers"),
    [
        ("GET", "/v1/workers", "/v1/workers", {}),
        ("HEAD", "/v1/workers", "/v1/workers", {}),
        ("GET", "/v1/workers/0", "/v1/workers/{slot}", {"slot": 0}),
        ("PUT", "/v1/workers/12", "/v1/workers/{slot}", {"slot": 12}),
        ("POST", "/v1/stop", "/v1/stop", {}),
        ("GET", "/v1/openapi.json", "/v1/openapi.json", {}),
    ],
)
def test_routes_are_found(method: str, path: str, found: str, numbers: dict[str, int]) -> None:
    route, given = ROUTER.find(method, path)
    assert (route.path, given) == (found, numbers)


@pytest.mark.parametrize(
    "path",
    [
        "/", "", "/v1", "/v1/", "/v1/workers/", "/v1/workers/x", "/v1/workers/-1", "/v1/workers/1/", "//v1/workers",
        "/v1/workers/" + "9" * 5000, "/v1/openapiXjson", "/V1/workers", "/v1/workers/1\n", "/v1/workers/\u0661", "*",
    ],
)  # fmt: skip
def test_other_paths_are_not(path: str) -> None:
    with pytest.raises(HttpRefusal) as raised:
        ROUTER.find("GET", path)
    assert raised.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/workers", "GET, HEAD"),
        ("DELETE", "/v1/workers/1", "GET, HEAD, PUT"),
        ("GET", "/v1/stop", "POST"),
        ("HEAD", "/v1/stop", "POST"),
        ("OPTIONS", "/v1/stop", "POST"),
        ("BREW", "/v1/stop", "POST"),
    ],
)
def test_another_method_is_told_which_there_are(method: str, path: str, allowed: str) -> None:
    with pytest.raises(HttpRefusal) as raised:
        ROUTER.find(method, path)
    assert (raised.value.status, raised.value.fields) == (405, (("Allow", allowed),))


WAIT = Parameter("wait", whole_number(0, 300), "seconds, 0 to 300", {}, "")
FOLLOW = Parameter("follow", switch, "0 or 1", {}, "")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {}),
        ("wait=30", {"wait": 30}),
        ("wait=0&follow=1", {"wait": 0, "follow": True}),
        ("follow=false", {"follow": False}),
        ("%77ait=3%30", {"wait": 30}),
    ],
)
def test_query_parameters_are_parsed(query: str, found: dict[str, Any]) -> None:
    assert parse_query(query, (WAIT, FOLLOW)) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("wiat=30", "unknown query parameter 'wiat'; known here: wait, follow"),
        ("wait=30&x=1", "unknown query parameter 'x'"),
        ("wait=", "expected: seconds, 0 to 300"),
        ("wait", "malformed"),
        ("&", "malformed"),
        ("wait=301", "expected: seconds, 0 to 300"),
        ("wait=-1", "expected"),
        ("wait=+1", "expected"),
        ("wait=1e2", "expected"),
        ("wait=1.5", "expected"),
        ("wait=%D9%A1", "expected"),
        ("wait=" + "9" * 5000, "expected"),
        ("wait=1&wait=2", "given twice"),
        ("follow=yes", "expected: 0 or 1"),
        ("%FF=1", "malformed"),
        ("&".join(f"a{number}=1" for number in range(100)), "malformed"),
    ],
)
def test_a_wrong_query_is_told_what_is_expected(query: str, said: str) -> None:
    with pytest.raises(HttpRefusal) as raised:
        parse_query(query, (WAIT, FOLLOW))
    assert raised.value.status == 400
    assert said in raised.value.detail


def test_where_there_are_no_parameters_that_is_said() -> None:
    with pytest.raises(HttpRefusal, match="known here: none"):
        parse_query("x=1", ())


@pytest.mark.parametrize(
    ("accept", "weight"),
    [
        ("*/*", 1.0),
        ("application/json", 1.0),
        ("APPLICATION/JSON", 1.0),
        ("application/*;q=0.5", 0.5),
        ("text/html, application/json;q=0.9, */*;q=0.1", 0.9),
        ("text/html", 0.0),
        ("application/json;q=0", 0.0),
        ("*/*, application/json;q=0", 0.0),
        ("application/json; charset=utf-8", 1.0),
        ("application/json;q=x", 0.0),
        ("", 0.0),
    ],
)
def test_the_most_specific_range_of_accept_decides(accept: str, weight: float) -> None:
    assert quality(accept, JSON) == weight


def test_a_client_that_excludes_all_there_is_gets_406() -> None:
    check_accept(None, JSON)
    check_accept("application/x-ndjson", JSON, "application/x-ndjson")
    with pytest.raises(HttpRefusal) as raised:
        check_accept("text/html", JSON, "application/x-ndjson")
    assert raised.value.status == 406
    assert "application/json or application/x-ndjson" in raised.value.detail
