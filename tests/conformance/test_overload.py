"""Overload: 503 with Retry-After beyond `limits.in_flight`, no further accept beyond `limits.connections`."""

from __future__ import annotations

import pytest

from tests.conformance.case import get
from tests.conformance.conftest import Servers
from tests.conformance.exchange import Address, Answers, End, Exchange, Leave, Pause, Send, run
from tests.conformance.server import Pool

SLEEP_MS = 600
SLEEPS_MS = (600, 2400, 9600)  # the next one where the machine was too slow for others to come meanwhile
CLIENTS = 20
CLOSE = b"Connection: close"


def test_beyond_in_flight(pool: Pool, servers: Servers) -> None:
    if pool.kind != "epoll" or pool.threads == 1:
        pytest.skip("one request at a time anyway")
    address = servers("busy").target.address
    assert any(refusals(address, sleep_ms) for sleep_ms in SLEEPS_MS), "although one request may be in flight"
    after = Exchange([Send(get(b"/", CLOSE))])
    run([after], address)
    assert after.outcome is not None
    assert after.outcome.responses[0].status == 200


def refusals(address: Address, sleep_ms: int) -> int:
    """How many are refused, and rightly so, while a request lasts."""
    busy = Exchange([Send(get(b"/sleep/%d" % sleep_ms, CLOSE))])
    others = [
        Exchange([Pause(number * sleep_ms / 1000 / CLIENTS), Send(get(b"/", CLOSE))]) for number in range(1, CLIENTS)
    ]
    run([busy, *others], address)
    assert busy.outcome is not None
    assert [response.status for response in busy.outcome.responses] == [200]
    refused = 0
    for other in others:
        assert other.outcome is not None
        assert other.outcome.end is End.FIN
        (response,) = other.outcome.responses
        assert response.status in {200, 503}
        if response.status == 503:
            refused += 1
            assert response.all("Retry-After")
            assert response.all("Retry-After")[0].isdigit()
            assert "close" in response.tokens("Connection")
    return refused


def test_beyond_connections(pool: Pool, servers: Servers) -> None:
    if pool.kind != "epoll":
        pytest.skip("the other pools hold few connections anyway")
    address = servers("full").target.address
    holders = [Exchange([Send(get()), Answers(1), Pause(SLEEP_MS / 1000), Leave()]) for _ in range(2)]
    others = [Exchange([Pause(0.2), Send(get(b"/", CLOSE))]) for _ in range(4)]
    run([*holders, *others], address)
    for exchange in [*holders, *others]:
        assert exchange.outcome is not None
        assert [response.status for response in exchange.outcome.responses] == [200]
    for other in others:
        assert other.outcome is not None
        assert other.outcome.end is End.FIN
        assert other.outcome.seconds > SLEEP_MS / 1000 - 0.1, "accepted while two connections were open"
