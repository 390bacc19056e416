"""Overload: 503 with Retry-After beyond `limits.in_flight`, no further accept beyond `limits.connections`."""

from __future__ import annotations

import pytest

from tests.conformance.case import get
from tests.conformance.conftest import Servers
from tests.conformance.exchange import Answers, End, Exchange, Leave, Pause, Send, Until, run
from tests.conformance.runner import new_token
from tests.conformance.server import Pool

HELD_SECONDS = 0.6
CLIENTS = 20
CLOSE = b"Connection: close"


def test_beyond_in_flight(pool: Pool, servers: Servers) -> None:
    """Whoever comes while the one request runs that may, is refused; who comes after it is not."""
    if pool.kind != "epoll" or pool.threads == 1:
        pytest.skip("one request at a time anyway")
    server = servers("busy")
    token = new_token()
    running, released = server.records / token, server.records / f"{token}.released"
    others = [Exchange([Until(running.exists), Send(get(b"/", CLOSE))]) for _ in range(CLIENTS)]

    def release() -> bool:
        if any(other.outcome is None for other in others):
            return False
        released.touch()
        return True

    busy = Exchange([Send(get(b"/held?t=" + token.encode(), CLOSE)), Until(release)])
    run([busy, *others], server.target.address)
    after = Exchange([Send(get(b"/", CLOSE))])
    run([after], server.target.address)
    for other in others:
        assert other.outcome is not None
        assert other.outcome.end is End.FIN
        (response,) = other.outcome.responses
        assert response.status == 503
        (seconds,) = response.all("Retry-After")
        assert seconds.isdigit()
        assert "close" in response.tokens("Connection")
    for served in (busy, after):
        assert served.outcome is not None
        assert [response.status for response in served.outcome.responses] == [200]


def test_beyond_connections(pool: Pool, servers: Servers) -> None:
    if pool.kind != "epoll":
        pytest.skip("the other pools hold few connections anyway")
    address = servers("full").target.address
    holders = [Exchange([Send(get()), Answers(1), Pause(HELD_SECONDS), Leave()]) for _ in range(2)]
    others = [Exchange([Send(get(b"/", CLOSE))]) for _ in range(4)]
    run([*holders, *others], address)
    for exchange in [*holders, *others]:
        assert exchange.outcome is not None
        assert [response.status for response in exchange.outcome.responses] == [200]
    for other in others:
        assert other.outcome is not None
        assert other.outcome.end is End.FIN
        assert other.outcome.seconds > HELD_SECONDS - 0.1, "accepted while two connections were open"
