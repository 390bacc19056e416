"""Request ids, in every pool: in the environ, the logs, and the response where that is configured."""

from __future__ import annotations

import json

import pytest

from tests.support.waiting import wait_for

from .worker_harness import Site, pools
from .worker_pace import hurry


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("on purpose")
    headers = [("x-request-id", "its-own")] if path == "/own" else []
    start_response("200 OK", headers)
    body = environ["miniwsgi.request_id"].encode()
    return iter([body[:5], body[5:]]) if path == "/stream" else [body]


@pools()
def test_each_request_has_an_id_of_its_own(site: Site, pool: str) -> None:
    site.fork(application, pool)
    found = [site.get("/").body.decode() for _ in range(3)]
    client = site.connect()
    found += [client.get("/").answer().body.decode() for _ in range(3)]
    assert len(set(found)) == 6
    assert all(len(one) >= 16 for one in found)


@pools()
def test_a_client_cannot_choose_its_id_unless_it_is_a_trusted_proxy(site: Site, pool: str) -> None:
    site.fork(application, pool)
    assert site.get("/", "X-Request-ID: mine").body != b"mine"


@pools()
def test_a_trusted_proxy_passes_ids_on(site: Site, pool: str) -> None:
    site.fork(application, pool, trusted=("127.0.0.0/8",))
    assert site.get("/", "X-Request-ID: Root=1-67891233-abcdef").body == b"Root=1-67891233-abcdef"
    for unusable in ("", "two words", "x" * 129, 'a"b', "é"):
        given = f"X-Request-ID: {unusable}"
        assert site.get("/", given).body.decode() != unusable
        assert len(site.get("/", given).body) >= 16


@pools()
@pytest.mark.parametrize("path", ["/", "/stream"])
def test_a_response_carries_the_id_where_that_is_wanted(site: Site, pool: str, path: str) -> None:
    site.fork(application, pool, request_id_header="X-Request-ID")
    answer = site.get(path)
    assert answer.all("x-request-id") == [answer.body.decode()]


@pools()
def test_an_id_of_the_applications_own_stays_the_only_one(site: Site, pool: str) -> None:
    site.fork(application, pool, request_id_header="X-Request-ID")
    assert site.get("/own").all("x-request-id") == ["its-own"]


@pools()
def test_responses_carry_no_id_by_default(site: Site, pool: str) -> None:
    site.fork(application, pool)
    assert site.get("/").all("x-request-id") == []


@pools()
def test_an_error_is_found_by_the_id_of_its_response(site: Site, pool: str) -> None:
    path = site.directory / "access.log"
    worker = site.fork(
        application,
        pool,
        prepare=hurry,
        request_id_header="X-Request-ID",
        access_log=str(path),
        access_log_format="json",
    )
    answer = site.get("/fail")
    [request_id] = answer.all("x-request-id")
    assert answer.status == 500
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    assert json.loads(path.read_text())["request_id"] == request_id
    wait_for(lambda: f"request_id={request_id}" in worker.log())
