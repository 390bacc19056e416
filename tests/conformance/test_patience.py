"""Requests that wait behind a slow one are answered: a server that was busy may not call its clients slow.

The hasty profile's timeouts are one second; the slow request takes longer, and the others are sent well in time.
"""

from __future__ import annotations

from tests.conformance.case import get
from tests.conformance.conftest import Servers
from tests.conformance.exchange import AWAY_SECONDS, Address, Answers, End, Exchange, HalfClose, Pause, Send, Step, run
from tests.conformance.server import Pool
from tests.support import retries

CLOSE = b"Connection: close"
SLOW = get(b"/sleep/1500", CLOSE)
LATE = get(b"/late", CLOSE)
BODY_LATE = get(b"/", b"Content-Length: 3", CLOSE)

# What a client does, and the statuses that it must get. The slow request comes from another one, 0.2 s later.
CLIENTS: dict[str, tuple[list[Step], list[int]]] = {
    "kept alive, sends meanwhile": ([Send(get()), Answers(1), Pause(0.5), Send(LATE)], [200, 200]),
    "connected before, sends meanwhile": ([Pause(0.5), Send(LATE)], [200]),
    "sends half a head before, the rest meanwhile": ([Send(LATE[:20]), Pause(0.5), Send(LATE[20:])], [200]),
    "sends a body meanwhile": ([Send(BODY_LATE), Pause(0.5), Send(b"abc")], [200]),
    "sends meanwhile and half-closes": ([Pause(0.5), Send(LATE), HalfClose()], [200]),
}
TIMES = 3  # for clients that were late themselves
KEPT_ALIVE = "kept alive, sends meanwhile"


def test_waiting_behind_a_slow_request(pool: Pool, servers: Servers) -> None:
    address = servers("hasty").target.address
    for chosen in (set(CLIENTS) - {KEPT_ALIVE}, {KEPT_ALIVE}) if pool.selfish else (set(CLIENTS),):
        for _ in range(TIMES):
            wrong, away_seconds = ask(address, chosen)
            if not wrong or away_seconds < AWAY_SECONDS:
                break
            retries.note(str(wrong), "the clients were late themselves", proven=True)
        assert not wrong


def ask(address: Address, chosen: set[str]) -> tuple[dict[str, str], float]:
    """What these clients, beside one slow request, got that they should not have got, and how late they were."""
    clients = {does: Exchange(CLIENTS[does][0]) for does in chosen}
    slow = Exchange([Send(SLOW)], connect_after=0.2)
    away_seconds = run([*clients.values(), slow], address)
    assert result(slow) == ([200], End.FIN)
    wrong = {
        does: f"expected {CLIENTS[does][1]} and FIN, got {result(client)}"
        for does, client in clients.items()
        if result(client) != (CLIENTS[does][1], End.FIN)
    }
    return wrong, away_seconds


def result(exchange: Exchange) -> tuple[list[int], End]:
    assert exchange.outcome is not None
    return [response.status for response in exchange.outcome.responses if response.complete], exchange.outcome.end
