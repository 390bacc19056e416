"""A small body behind a head that was there before: where it begins is known by the sizes of both, on any engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from miniwsgi.daemon.engine.contract import Outcome

from tests.support.engines import ENGINES

from .conversation_world import NOW, World

HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
BODIES = [b"12345", b"abcde", b"\r\n\r\nx", b"GET /", HEAD[:5]]  # the same size, whatever they look like


class Service(World):
    """Its application keeps what was posted, and where to."""

    def __init__(self, engine: str, **limits: Any) -> None:
        self.posted: list[tuple[str, bytes]] = []
        super().__init__(engine, **limits)

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.posted.append((environ["PATH_INFO"], environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"."]

    def serve(self) -> None:
        while self.conversation.serve(self.thread, NOW) is Outcome.REQUEST:
            pass  # the next one is here already


@pytest.fixture(params=ENGINES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    made = Service(request.param)
    with made.near, made.far:
        yield made


def test_each_body_is_its_own_requests(service: Service) -> None:
    for body in BODIES:
        service.send(HEAD % 5 + body)
        service.serve()
    assert [body for _path, body in service.posted] == BODIES


def test_another_request_line_before_the_same_fields_is_read(service: Service) -> None:
    for path in (b"/a", b"/longer/path?x", b"/b"):
        service.send((HEAD % 5).replace(b"/a", path, 1) + b"12345")
        service.serve()
    assert [path for path, _body in service.posted] == ["/a", "/longer/path", "/b"]


@pytest.mark.parametrize("behind", [b"", b"GET /g HTTP/1.1\r\nHost: a\r\n\r\n", HEAD % 5 + b"again"])
@pytest.mark.parametrize("missing", range(9))
def test_what_comes_in_two_parts_or_with_another_request_is_the_same(
    service: Service, behind: bytes, missing: int
) -> None:
    service.send(HEAD % 5 + b"first")
    service.serve()
    whole = HEAD % 5 + b"12345" + behind
    cut = len(whole) - missing
    service.send(whole[:cut])
    service.serve()
    if missing:
        service.send(whole[cut:])
        service.serve()
    rest = {b"": [], b"G": [("/g", b"")], b"P": [("/a", b"again")]}[behind[:1]]
    assert service.posted == [("/a", b"first"), ("/a", b"12345"), *rest]


@pytest.mark.parametrize("size", [0, 4, 6, 12])
def test_another_length_is_another_head(service: Service, size: int) -> None:
    for body in (b"12345", b"x" * size, b"67890"):
        service.send(HEAD % len(body) + body)
        service.serve()
    assert [body for _path, body in service.posted] == [b"12345", b"x" * size, b"67890"]


def test_a_line_that_is_none_is_refused_before_the_same_fields(service: Service) -> None:
    service.send(HEAD % 5 + b"12345")
    service.serve()
    service.far.recv(1000)
    service.send((HEAD % 5).replace(b"POST /a HTTP/1.1", b"POST  /a HTTP/1.1") + b"12345")
    service.serve()
    assert service.far.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert len(service.posted) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_more_than_is_allowed_is_refused(engine: str) -> None:
    service = Service(engine, body_max_bytes=4)
    with service.near, service.far:
        service.send(HEAD % 5 + b"12345")
        service.serve()
        assert service.far.recv(1000).startswith(b"HTTP/1.1 413 ")
