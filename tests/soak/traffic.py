"""Mixed traffic at a steady rate, in which every answer is checked to its last byte.

Visitors of several kinds come again and again: pages on kept-alive connections, pipelined pages, small and spooled
bodies, streams, slow handlers, connections that stay silent, and clients that leave in the middle. What the daemon is
to have counted is known: GET and POST are answered or are failures; whoever leaves uses PUT or DELETE.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.load import ANSWER_SECONDS, Failure

from .connection import Connection, Wrong

LONGEST_PAUSE_SECONDS = 20.0
BODY_MEMORY_BYTES = 65536  # of the daemon; bodies beyond it are spooled
ALL = random.Random(1).randbytes(512 * 1024)  # bodies are cut from it
KEPT = 100  # failures in full


@dataclass(frozen=True, slots=True)
class Lost:
    """A request that was not answered rightly."""

    at: float  # time.monotonic
    visitor: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.visitor}: {self.kind} ({self.detail})"


@dataclass
class Tally:
    """What the visitors have seen."""

    answered: Counter[str] = field(default_factory=Counter)  # by kind of visitor
    methods: Counter[str] = field(default_factory=Counter)  # right answers, by method
    left: Counter[str] = field(default_factory=Counter)  # requests that their client gave up, by method
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    processes: set[str] = field(default_factory=set)
    failures: int = 0
    lost: list[Lost] = field(default_factory=list)
    slowest: float = 0.0  # seconds, of pages

    @property
    def total(self) -> int:
        return sum(self.answered.values())


@dataclass(frozen=True, slots=True)
class Kind:
    """Visitors of one kind: how many of them, and how much of the traffic they are."""

    name: str
    visit: Callable[[Traffic, Visitor], Awaitable[None]]
    visitors: int
    share: float = 0.0  # of the rate; 0: it sets its own pace


@dataclass
class Visitor:
    """One of them, with its connection."""

    kind: Kind
    pause: float  # seconds between requests, on average
    chance: random.Random
    connection: Connection | None = None
    number: int = 0

    def token(self) -> str:
        self.number += 1
        return f"{self.kind.name}-{self.chance.getrandbits(24):06x}-{self.number}"


class Traffic:
    """Visitors in a thread of their own, from `start` to `stop`. `rate` is in requests a second, all together.

    Without `keep_alive` each request has its connection: for pools that close idle ones when others wait.
    """

    def __init__(self, address: tuple[str, int], rate: float, *, keep_alive: bool = True, seed: int = 1) -> None:
        self.address = address
        self.keep_alive = keep_alive
        self.tally = Tally()
        self._chance = random.Random(seed)
        self._visitors = [
            Visitor(kind, kind.visitors / (rate * kind.share) if kind.share else 0.0, random.Random(seed * 1000 + n))
            for n, kind in enumerate(kind for kind in KINDS for _ in range(kind.visitors))
        ]
        self._over = asyncio.Event()
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Tally:
        """Send no more, wait for what is outstanding. Raises what went wrong in the thread."""
        self._begun.wait()
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._over.set)
            except RuntimeError:
                pass  # it has ended by itself; `check` says why
        self._thread.join(ANSWER_SECONDS * 2)
        assert not self._thread.is_alive(), "a visitor does not end"
        self.check()
        return self.tally

    def check(self) -> None:
        """Raises what went wrong in the thread."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # handed to `check`
            self._error = error
        finally:
            self._begun.set()

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun.set()
        async with asyncio.TaskGroup() as group:
            for visitor in self._visitors:
                group.create_task(self._come_again(visitor))

    async def _come_again(self, visitor: Visitor) -> None:
        await self.sleep(visitor.chance.random() * visitor.pause)
        while not self._over.is_set():
            await self.visit(visitor)
            if visitor.pause:
                await self.sleep(min(visitor.chance.expovariate(1 / visitor.pause), LONGEST_PAUSE_SECONDS))
        self.leave(visitor)

    async def visit(self, visitor: Visitor) -> None:
        """Have it do what it does, once; what goes wrong is in the tally."""
        try:
            await visitor.kind.visit(self, visitor)
        except Wrong as wrong:
            self._lose(visitor, wrong)
        if visitor.connection is not None and not visitor.connection.reusable:
            self.leave(visitor)

    async def sleep(self, seconds: float) -> None:
        """Not longer than the traffic lasts."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass

    def _lose(self, visitor: Visitor, wrong: Wrong) -> None:
        self.tally.failures += 1
        if len(self.tally.lost) < KEPT:
            self.tally.lost.append(Lost(time.monotonic(), visitor.kind.name, wrong.kind.value, wrong.detail))
        self.leave(visitor)

    def leave(self, visitor: Visitor) -> None:
        """It has no connection any more."""
        if visitor.connection is not None:
            visitor.connection.close()
            visitor.connection = None

    # --- what visitors do ---

    async def connection(self, visitor: Visitor) -> Connection:
        """The visitor's, if it may be used again; else a new one. Raises Wrong."""
        if visitor.connection is not None and not visitor.connection.reusable:
            self.leave(visitor)
        if visitor.connection is None:
            visitor.connection = await Connection.open(self.address)
        return visitor.connection

    def head(self, method: str, target: str, *fields: str) -> bytes:
        close = () if self.keep_alive else ("Connection: close",)
        lines = (f"{method} {target} HTTP/1.1", "Host: localhost", *close, *fields)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def expect(self, visitor: Visitor, connection: Connection, method: str, text: str, rest: bytes = b"") -> bool:
        """Take one answer; whether the connection goes on. Raises Wrong if it is not the one that was asked for."""
        asked_at = time.monotonic()
        answer = await connection.answer()
        self.tally.statuses[answer.status] += 1
        if answer.status != 200:
            raise Wrong(Failure.STATUS, f"{answer.status} {answer.body[:100]!r}")
        match = re.fullmatch(rb"(\S+) (\d+) (\S+)\n", answer.body[: len(answer.body) - len(rest)])
        if match is None or match[3] != text.encode() or not answer.body.endswith(rest):
            raise Wrong(Failure.BODY, f"{text} was asked for: {answer.body[:80]!r}, {len(answer.body)} bytes")
        self.tally.answered[visitor.kind.name] += 1
        self.tally.methods[method] += 1
        self.tally.versions[match[1].decode()] += 1
        self.tally.processes.add(match[2].decode())
        if visitor.kind.name == "page":
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - asked_at)
        return not answer.last


async def page(traffic: Traffic, visitor: Visitor) -> None:
    connection, token = await traffic.connection(visitor), visitor.token()
    await connection.ask(traffic.head("GET", f"/?token={token}"))
    await traffic.expect(visitor, connection, "GET", token)


async def pipelined(traffic: Traffic, visitor: Visitor) -> None:
    connection = await traffic.connection(visitor)
    tokens = [visitor.token() for _ in range(visitor.chance.randint(2, 6) if traffic.keep_alive else 1)]
    await connection.ask(b"".join(traffic.head("GET", f"/?token={token}") for token in tokens))
    for token in tokens:
        if not await traffic.expect(visitor, connection, "GET", token):
            return  # what stands behind an announced end was not begun (RFC 9112, section 9.6)


async def post(traffic: Traffic, visitor: Visitor) -> None:
    connection, length = await traffic.connection(visitor), visitor.chance.randint(0, 20_000)
    body = piece(visitor, length)
    await connection.ask(traffic.head("POST", "/digest", f"Content-Length: {length}") + body)
    await traffic.expect(visitor, connection, "POST", digest(body))


async def spooled(traffic: Traffic, visitor: Visitor) -> None:
    connection = await traffic.connection(visitor)
    body = piece(visitor, visitor.chance.randint(BODY_MEMORY_BYTES + 1, len(ALL)))
    parts = [body[at : at + 60_000] for at in range(0, len(body), 60_000)]
    if visitor.chance.random() < 0.5:
        head = traffic.head("POST", "/digest", "Transfer-Encoding: chunked")
        parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        parts.append(b"0\r\n\r\n")
    else:
        head = traffic.head("POST", "/digest", f"Content-Length: {len(body)}")
    await connection.ask(head, *parts, pause=visitor.chance.choice([0.0, 0.02]))
    await traffic.expect(visitor, connection, "POST", digest(body))


async def stream(traffic: Traffic, visitor: Visitor) -> None:
    connection, token, lines = await traffic.connection(visitor), visitor.token(), visitor.chance.randint(0, 60)
    await connection.ask(traffic.head("GET", f"/stream?token={token}&lines={lines}"))
    rest = "".join(f"{token} {number}\n" * 50 for number in range(lines)).encode()
    await traffic.expect(visitor, connection, "GET", token, rest)


async def slow(traffic: Traffic, visitor: Visitor) -> None:
    connection, token = await traffic.connection(visitor), visitor.token()
    await connection.ask(traffic.head("GET", f"/slow?token={token}&ms={visitor.chance.randint(20, 1200)}"))
    await traffic.expect(visitor, connection, "GET", token)


async def silent(traffic: Traffic, visitor: Visitor) -> None:
    """One request, and then nothing; the server may close whenever it likes."""
    await page(traffic, visitor)
    await traffic.sleep(visitor.chance.uniform(2, 30))
    traffic.leave(visitor)


async def leaving(traffic: Traffic, visitor: Visitor) -> None:
    """Go away in the middle of a head, a body, a wait or a stream."""
    connection, token = await Connection.open(traffic.address), visitor.token()
    try:
        match visitor.chance.randrange(4):
            case 0:
                await connection.ask(traffic.head("GET", f"/?token={token}")[:-7])
            case 1:
                length = visitor.chance.choice([5_000, 400_000])
                head = traffic.head("PUT", "/digest", f"Content-Length: {length}")
                traffic.tally.left["PUT"] += 1
                await connection.ask(head, piece(visitor, visitor.chance.randint(0, length - 1)), pause=0.05)
            case 2:
                traffic.tally.left["DELETE"] += 1
                await connection.ask(traffic.head("DELETE", f"/slow?token={token}&ms=300"), pause=0.1)
            case _:
                traffic.tally.left["DELETE"] += 1
                await connection.ask(traffic.head("DELETE", f"/stream?token={token}&lines=400"))
                await connection.read_some()
    finally:
        connection.reset() if visitor.chance.random() < 0.7 else connection.close()


def piece(visitor: Visitor, length: int) -> bytes:
    begin = visitor.chance.randint(0, len(ALL) - length)
    return ALL[begin : begin + length]


def digest(body: bytes) -> str:
    """What the application says to a body."""
    return f"{len(body)}:{hashlib.sha256(body).hexdigest()}"


KINDS = (
    Kind("page", page, 12, 0.55),
    Kind("pipelined", pipelined, 2, 0.03),
    Kind("post", post, 6, 0.20),
    Kind("spooled", spooled, 2, 0.02),
    Kind("stream", stream, 3, 0.08),
    Kind("slow", slow, 3, 0.04),
    Kind("leaving", leaving, 2, 0.08),
    Kind("silent", silent, 8),
)
