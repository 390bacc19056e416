"""What comes before the first request: however it comes, in what pieces, not a byte of what follows is taken."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.openings import opening
from miniwsgi.daemon.engine.openings.opening import Opening, Opens
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools.openings import Openings
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CLOSED_BY, SLOT_BYTES, Closed
from miniwsgi.metrics.slot import Slot

from tests.support import proxy_headers as make

NOW, SECOND = 10**12, 10**9
PEER = "10.0.0.1"
FOLLOWS = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD = {
    "line": make.LINE,
    "binary": make.binary(),
    "fields": make.NLB,
    "local": make.LOCAL,
    "v6": make.binary(client="::9", server="::1"),
}
LONG = {"longest": b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", "most": make.binary(make.tlv(4, bytes(8192 - 12 - 3)))}


class World:
    """A client of a listener with `proxy_protocol`, before its first request."""

    def __init__(self, engine: str = "plain", peer: str = PEER, **options: Any) -> None:
        memory = memoryview(bytearray(SLOT_BYTES))
        board: Any = SimpleNamespace(slot=lambda index: Slot(index, memory))
        listener = Listener(7, "0.0.0.0:8080", not peer, "x", "8080", proxy_protocol=True)
        plain = Listener(8, "0.0.0.0:80", False, "x", "80")
        settings = Settings(
            generation=1, listeners=(listener, plain), scoreboard_fd=-1, module="x", directory="/", engine=engine,
            **{"trusted": (PEER,), **options},
        )  # fmt: skip
        log = ErrorLog("warning", "text", False, "worker", slot=0)
        self.told: list[str] = []
        log.limited = lambda key, level, code, told, /, **fields: self.told.append(f"{key} {level} {told} {fields}")  # type: ignore[method-assign]
        self.context = Context(settings, board, 0, log, None, lambda _environ, _start: [], choose(engine))
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.opening: Opening = self.context.openers[7](self.near, (peer, 1234) if peer else "", NOW)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_error: object) -> None:
        self.near.close()
        self.far.close()

    def send(self, data: bytes) -> Opens:
        """What has come of it."""
        self.far.sendall(data)
        return self.opening.advance(NOW)

    def left(self) -> bytes:
        """What of what the client has sent is not taken."""
        try:
            return self.near.recv(65536)
        except BlockingIOError:
            return b""

    def closed_by(self) -> dict[str, int]:
        cells = self.context.slot.cells
        assert cells[ACCEPTED] == cells[CLOSED]
        return {why.name: cells[CLOSED_BY + why] for why in Closed if cells[CLOSED_BY + why]}


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


def test_listeners_without_it_have_no_openings(world: World) -> None:
    assert list(world.context.openers) == [7]


# --- pieces ---
@pytest.mark.parametrize("name", GOOD)
def test_a_header_in_two_pieces_split_anywhere(name: str) -> None:
    data = GOOD[name]
    for at in range(len(data)):
        with World() as world:
            assert world.send(data[:at]) is Opens.READ
            assert world.left() == b"", "nothing is left that a poller would tell of again and again"
            assert world.send(data[at:] + FOLLOWS) is Opens.READY
            assert world.left() == FOLLOWS


@pytest.mark.parametrize("name", [*GOOD, *LONG])
def test_a_header_byte_by_byte(world: World, name: str) -> None:
    data = (GOOD | LONG)[name]
    for at in range(len(data) - 1):
        assert world.send(data[at : at + 1]) is Opens.READ
        assert world.left() == b""
    assert world.send(data[-1:]) is Opens.READY


@pytest.mark.parametrize("follows", [b"", b"\n", b"\r\n", b"PROXY TCP4", make.SIGNATURE, FOLLOWS, bytes(4096)])
@pytest.mark.parametrize("name", [*GOOD, *LONG])
def test_nothing_that_follows_is_taken(world: World, name: str, follows: bytes) -> None:
    assert world.send((GOOD | LONG)[name] + follows) is Opens.READY
    assert world.left() == follows
    assert not world.told


# --- who, and what it means ---
@pytest.mark.parametrize(
    ("data", "client"),
    [
        (make.LINE, (make.CLIENT, "4567")),
        (make.binary(client="2001:db8::9", server="::1"), ("2001:db8::9", "4567")),
        (make.unix(b"/a", b"/b"), ("", "")),
        (make.LOCAL, (PEER, "1234")),
        (b"PROXY UNKNOWN\r\n", (PEER, "1234")),
        (make.header(b"", family=0), (PEER, "1234")),
    ],
)
def test_the_client_is_who_the_header_says(world: World, data: bytes, client: tuple[str, str]) -> None:
    assert world.send(data) is Opens.READY
    environ = world.opening.environ
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == client
    assert environ["SERVER_PORT"] == "8080"


FORWARDED = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "options", "seen"),
    [
        (make.LINE, {}, (make.CLIENT, "http")),
        (make.LINE, {"trusted": (PEER, make.CLIENT)}, ("192.0.2.66", "https")),
        (make.LINE, {"trusted": ("*",), "hops": 1}, (make.CLIENT, "http")),
        (make.LINE, {"trusted": ("*", make.CLIENT), "hops": 1}, ("192.0.2.66", "https")),
        (make.unix(b"/a", b"/b"), {"trusted": ("*",), "hops": 1}, ("", "http")),
        (make.unix(b"/a", b"/b"), {"trusted": ("unix", PEER)}, ("192.0.2.66", "https")),
        (make.LOCAL, {}, (PEER, "http")),
        (b"PROXY UNKNOWN\r\n", {}, (PEER, "http")),
        (make.header(b"", family=0), {}, (PEER, "http")),
        (make.unix(b"/a", b"/b"), {}, ("", "http")),
        (make.binary(make.ssl(1, 0)), {}, (make.CLIENT, "https")),
        (make.binary(make.ssl(1, 0), client=PEER), {}, ("192.0.2.66", "https")),
    ],
)
def test_whose_word_counts_about_those_behind_the_client(
    engine: str, data: bytes, options: dict[str, Any], seen: tuple[str, str]
) -> None:
    """The fields come from the client, through a proxy that does not look at them: is it trusted itself?"""
    environs: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environs.append(environ)
        start_response("200 OK", [])
        return [b""]

    with World(engine, **options) as world:
        world.context.site.application = application
        assert world.send(data + FORWARDED) is Opens.READY
        conversation = world.opening.begin(NOW)
        conversation.serve(ThreadAccount(0, world.context.slot, 0), NOW)
        conversation.close()
        conversation.hang_up()
        assert world.closed_by()
    (environ,) = environs
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == seen
    assert environ.get("HTTPS") == ("on" if seen[1] == "https" else None)


# --- who is turned away ---
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (FOLLOWS, "does not begin with a PROXY header"),
        (b"P", ""),
        (b"PUT / HTTP/1.1\r\n", "does not begin with a PROXY header"),
        (b"PROXY", ""),
        (b"PROXYING", "does not begin with a PROXY header"),
        (b"\x16\x03\x01", "does not begin with a PROXY header"),
        (b"\r\n\r\n\x00", ""),
        (b"\r\nGET / HTTP/1.1", "does not begin with a PROXY header"),
        (b"PROXY TCP4 1.2.3.4\n", "not well-formed (PROXY protocol section 2.1)"),
        (b"PROXY UNKNOWN " + b"x" * 200, "too long (PROXY protocol section 2.1)"),
        (make.header(b"")[:-2] + b"\xff\xff", "too long, 65535 bytes (PROXY protocol section 2.2)"),
        (make.binary(make.tlv(3, bytes(4))), "checksum"),
    ],
)
def test_what_is_no_header(world: World, data: bytes, told: str) -> None:
    """An empty text: more may come of it."""
    if not told:
        assert world.send(data) is Opens.READ
        return
    assert world.send(data) is Opens.OVER
    assert world.closed_by() == {"OPENING": 1}
    (line,) = world.told
    assert line.startswith("opening-proxy-header warning closed a connection to 0.0.0.0:8080: ")
    assert told in line
    assert PEER in line


@pytest.mark.parametrize(("peer", "trusted"), [("10.0.0.2", (PEER,)), (PEER, ()), ("", (PEER,)), ("", ("0.0.0.0/0",))])
def test_who_is_not_trusted_is_not_even_read(peer: str, trusted: tuple[str, ...]) -> None:
    with World(peer=peer, trusted=trusted) as world:
        assert world.send(make.LINE) is Opens.OVER
        assert world.left() == make.LINE
        assert world.closed_by() == {"OPENING": 1}
        (line,) = world.told
        assert "its peer is not in proxy.trusted" in line
        assert (peer or "a Unix-socket client") in line


@pytest.mark.parametrize("peer", ["", "::ffff:10.0.0.1"])
def test_who_is_trusted(peer: str) -> None:
    with World(peer=peer, trusted=("unix", PEER)) as world:
        assert world.send(make.LINE) is Opens.READY


@pytest.mark.parametrize(
    ("sent", "why", "lines"), [(b"", "CLIENT", 0), (b"PROXY T", "OPENING", 1), (make.SIGNATURE, "OPENING", 1)]
)
def test_a_client_that_ends(world: World, sent: bytes, why: str, lines: int) -> None:
    """Who has only looked whether the port is open is nothing to tell of."""
    assert world.send(sent) is Opens.READ
    world.far.shutdown(socket.SHUT_WR)
    assert world.opening.advance(NOW) is Opens.OVER
    assert world.closed_by() == {why: 1}
    assert len(world.told) == lines


def test_one_that_is_late(world: World) -> None:
    assert world.send(make.LINE[:9]) is Opens.READ
    assert not world.opening.is_late(NOW + 10 * SECOND - 1)
    assert world.opening.is_late(NOW + 10 * SECOND)
    world.opening.expire()
    assert world.closed_by() == {"TIMEOUT": 1}
    assert "did not come in time; the limit is timeouts.head" in world.told[0]


@pytest.mark.parametrize(("waits_to", "why"), [(Opens.READ, {}), (Opens.WRITE, {"TIMEOUT": 1})])
def test_what_has_come_and_was_not_read_yet(world: World, waits_to: Opens, why: dict[str, int]) -> None:
    """It is the worker that was busy; but not if the client is to take something first, and sends for ever."""
    openings = Openings(select.poll(), world.context)
    openings.openers = {7: lambda *_client: opening_of(world, Step(waits_to))}
    openings.admit(7, world.near, (PEER, 1), NOW)
    world.far.sendall(b"x")
    openings.look(NOW + SECOND)
    assert world.closed_by() == why
    assert len(openings) == len(world.told) ^ 1


# --- steps ---
class Step:
    """Waits, then is ready, at each call."""

    limit_ns, late = SECOND, "late"

    def __init__(self, *opens: Opens | Exception) -> None:
        self.left = list(opens)

    def advance(self, one: Opening, _now: int) -> Opens:
        opens = self.left.pop(0)
        if isinstance(opens, Exception):
            raise opens
        return opens

    def end(self, _one: Opening, why: Closed) -> None:
        self.ended = why


def opening_of(world: World, *steps: Step) -> Opening:
    listener = world.opening.listener
    return Opening([*steps], world.context.site, world.context.engine.begin, listener, world.near, (PEER, 1), NOW)


def test_steps_follow_each_other_each_with_its_own_time(world: World) -> None:
    one = opening_of(world, Step(Opens.READ, Opens.READY), Step(Opens.WRITE, Opens.READ, Opens.READY))
    assert one.advance(NOW) is Opens.READ
    one.spoke = True
    assert one.advance(NOW + SECOND) is Opens.WRITE
    assert not one.spoke, "in the present step"
    assert not one.is_late(NOW + SECOND + 1)
    assert one.is_late(NOW + 2 * SECOND)
    assert one.advance(NOW) is Opens.READ
    assert one.advance(NOW) is Opens.READY


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (opening.TurnedAway("kind", "why"), "OPENING"),
        (opening.ClientLeft(), "CLIENT"),
        (ConnectionResetError(), "CLIENT"),
    ],
)
def test_a_step_that_fails(world: World, error: Exception, why: str) -> None:
    assert opening_of(world, Step(Opens.READ, error)).advance(NOW) is Opens.READ
    assert opening_of(world, Step(error)).advance(NOW) is Opens.OVER
    assert world.closed_by() == {why: 1}
