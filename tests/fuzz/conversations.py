"""One connection's worth of input for an engine: what the client sends and how, what the application answers.

The same for the same seed and number. `Script` is data; `simpler` says what may be left out of one to see what it is
about.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from miniwsgi.daemon.settings import StaticFiles

from .answer_ways import answer
from .answers import PLAINEST, Answer, Event, Headers, Reading
from .client_requests import requests
from .mutations import RIGHT, SEEDS, mutated, pieces

LARGE_BLOCKS = (11, 3000, 16_384, 40_000, 70_000)
_GIVEN_UP = (Event.EXPIRED, Event.GONE)
IN_PARTS = ("generator", "result", "iterator", "fails midway")
MANY_PARTS = 2
MUCH_BYTES = 100_000
MOST_ANSWERS = 6  # of a script; what more requests are answered with begins anew
SMALL_LIMITS = {
    "request_line_bytes": 200, "field_bytes": 220, "fields": 12, "fields_bytes": 900, "body_max_bytes": 800,
    "body_memory_bytes": 100,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """How a worker is configured, and where its client comes from."""

    settings: dict[str, Any] = field(default_factory=dict)
    unix: bool = False
    access_log: str = ""
    often: int = 2
    routed: bool = False  # its application's requests have routes


ACCESS = '%(h)s %(u)s "%(r)s" %(s)s %(b)s %(f)s %(a)s %({x-a}o)s %({content-type}o)s %({miniwsgi.request_id}e)s'
FILES = (StaticFiles("/", str(Path(__file__).parent / "static"), fallthrough=True, index_name="a"),)
SERVERS: dict[str, Server] = {
    "as it comes": Server(often=8),
    "logged": Server(access_log=ACCESS, often=4),
    "logged as usual": Server(access_log="combined", often=3),
    "logged in JSON": Server(access_log="json", often=3),
    "logged but for what went well": Server({"access_lines": "problems"}, access_log="combined"),
    "logged but for some": Server({"access_skip": ("GET /a*", "HEAD any", "404", "agent:mozilla")}, access_log="json"),
    "small limits": Server(SMALL_LIMITS),
    "small limits, logged": Server({**SMALL_LIMITS, "threads": 1}, access_log=ACCESS),
    "one thread": Server({"threads": 1}),
    "a Unix socket": Server(unix=True),
    "with static files": Server({"static": FILES}, access_log=ACCESS),
    "with static files, behind a proxy": Server({"static": FILES, "trusted": ("127.0.0.1",), "threads": 1}),
    "under a path": Server({"script_name": "/app"}),
    "ids told, nameless": Server({"request_id_header": "X-Request-Id", "server_header": ""}),
    "behind a proxy": Server({"trusted": ("127.0.0.1",)}, access_log=ACCESS),
    "behind a modern proxy": Server({"trusted": ("127.0.0.1",), "forwarded": True, "request_id_header": "X-Id"}),
    "a Unix socket behind a proxy": Server({"trusted": ("unix",), "script_name": "/app"}, unix=True),
    "behind a proxy that tells all": Server(
        {
            "trusted": ("127.0.0.1",),
            "host_field": "X-Forwarded-Host",
            "port_field": "X-Forwarded-Port",
            "prefix_field": "X-Forwarded-Prefix",
        },
        access_log=ACCESS,
    ),
    "behind two proxies, under a path": Server(
        {
            "trusted": ("*",),
            "hops": 2,
            "host_field": "X-Forwarded-Host",
            "prefix_field": "X-Forwarded-Prefix",
            "prefix_stripped": False,
            "scheme_field": "X-Forwarded-Ssl",
            "script_name": "/app",
        },
    ),
    "behind a modern proxy that tells all": Server(
        {
            "trusted": ("127.0.0.1",),
            "forwarded": True,
            "host_field": "Forwarded",
            "script_name": "/app",
            "script_name_stripped": True,
        },
    ),
    "behind another's proxy": Server({"trusted": ("10.0.0.0/8",)}, often=1),
    "without keep-alive": Server({"keep_alive_timeout": 0.0}, often=1),
    "with routes": Server(often=5, routed=True),
    "with routes, logged": Server(access_log="combined", routed=True),
    "with routes, ids told": Server({"request_id_header": "X-Request-Id", "threads": 1}, routed=True),
    "one process a request": Server({"pool": "prefork", "threads": 1}),
}


class Owner(Enum):
    """How the pool has a request answered."""

    SERVES = "serve"
    TURNS = "by the engine's own turns"
    GIVES_AWAY = "receive, answer and settle, as on another thread"
    BOTH = "by turns"
    TURNS_AND_POOL = "by the engine's turns, but for every other one that is read"


class Reader(Enum):
    """When the client reads."""

    AT_ONCE = "after each piece"
    LATE = "when nothing else goes on"
    NEVER = "never"


class Holding(Enum):
    """How long what an engine may hold waits: nanoseconds of `held.pxi`, short, old and late."""

    ALL = (10**15, 10**15, 700_000)  # whatever can be held is, or until the thread sends it
    NOTHING = (-1, -1, 700_000)
    BY_CHANCE = (4_000, 10_000, 15_000)  # some goes at once, some when it is old, and some by the thread


class Ending(Enum):
    """How the conversation ends, if it is not over by itself."""

    HALF_CLOSED = "the client sends no more"
    CLOSED = "the client closes"
    DISMISSED = "the server ends it for its silence"
    ABANDONED = "the server gives it up"
    REFUSED = "the pool has it refused"
    LEFT_WAITING = "the client leaves while a request of its waits for another thread"


@dataclass(frozen=True, slots=True)
class Script:
    """What happens on one connection."""

    server: str = "as it comes"
    pieces: tuple[bytes, ...] = ()
    answers: tuple[Answer, ...] = (PLAINEST,)
    owner: Owner = Owner.SERVES
    reader: Reader = Reader.AT_ONCE
    ending: Ending = Ending.HALF_CLOSED
    small_buffer: bool = False  # the socket takes little at once
    short_turns: bool = False  # a result is pulled in parts
    beside: bool = False  # another client has a request in each turn
    seconds_pass: bool = False  # between two pieces
    forgets: bool = False  # the server drops what it remembers between two pieces
    chance: bool = False  # what is held goes by chance

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def may_fill(self) -> bool:
        """Whether the kernel may not take all at once."""
        rounds = -(-self.data.count(b"HTTP/") // len(self.answers)) or 1  # a request takes the next, and then the first
        bodies = [sum(answer.sizes) * rounds for answer in self.answers]
        parts = any(len(answer.sizes) > MANY_PARTS for answer in self.answers)
        return self.small_buffer or sum(bodies) > MUCH_BYTES or (parts and self.reader is not Reader.AT_ONCE)

    @property
    def in_turns(self) -> bool:
        return self.owner is Owner.TURNS or self.owner is Owner.TURNS_AND_POOL

    @property
    def holding(self) -> Holding:
        """NOTHING: where an engine holds something others see it, and may."""
        events = [answer.event for answer in self.answers]
        if Event.CLIENT_LEFT in events:
            return Holding.NOTHING  # what was held then, one engine would have sent, and one not
        # How much the kernel takes depends on how it is put together; and on that, if not all is read, what is
        # answered, who is next, what is given up, and in which second.
        if self.may_fill and (
            self.beside
            or self.seconds_pass
            or self.reader is Reader.NEVER
            or any(event in _GIVEN_UP for event in events)
        ):
            return Holding.NOTHING
        if self.owner is Owner.TURNS_AND_POOL and (self.beside or Event.TAKEN in events):
            return Holding.NOTHING  # what the pool answers has no loop to lose, and comes behind the turn's others
        return Holding.BY_CHANCE if self.chance else Holding.ALL

    @property
    def same_steps(self) -> bool:
        """Whether it has to come in the same steps, not only to the same."""
        return self.holding is Holding.NOTHING or not (self.may_fill or self.owner is Owner.TURNS_AND_POOL)

    def answer(self, number: int) -> Answer:
        return self.answers[number % len(self.answers)]


# Who is served while another's request is answered: on the same worker, by the thread that has taken the loop.
MEANWHILE = Script(
    pieces=(b"GET /meanwhile HTTP/1.1\r\nHost: other\r\nX-A: other\r\n\r\n",) * 2,
    owner=Owner.TURNS, answers=(Answer(pairs=(("X-A", "other"),), sizes=(11,)),),
)  # fmt: skip

# Who has a request in the same turn.
BESIDE = Script(
    pieces=(b"GET /beside HTTP/1.1\r\nHost: third\r\nX-A: beside\r\nX-B: c\r\n\r\n",),
    owner=Owner.TURNS, answers=(Answer(pairs=(("X-A", "beside"),), sizes=(5,)),),
)  # fmt: skip

_NAMES = tuple(name for name, server in SERVERS.items() for _ in range(server.often))
_OWNERS = (*(Owner.TURNS, Owner.SERVES) * 3, Owner.GIVES_AWAY, Owner.BOTH, Owner.TURNS_AND_POOL)
_READERS = (Reader.AT_ONCE,) * 8 + (Reader.LATE, Reader.NEVER)
_ENDINGS = (Ending.HALF_CLOSED,) * 4 + tuple(Ending)


def make(seed: int, number: int) -> Script:
    """The input of that number."""
    chance = random.Random(f"{seed}-{number}")
    server = chance.choice(_NAMES)
    asked: list[bytes] = []
    if chance.random() < 0.75:
        asked = requests(chance)
        if chance.random() < 0.2:
            at = chance.randrange(len(asked))
            asked[at] = mutated(chance, (asked[at],))
        data = b"".join(asked)
    else:
        data = mutated(chance, SEEDS, RIGHT)
    sent = tuple(piece for piece in _cut(chance, asked, data) if piece)
    reader = chance.choice(_READERS)
    # Where the thread that answers sends itself, it waits for a client that does not read.
    waits = "pool" in SERVERS[server].settings
    small_buffer = chance.random() < 0.1 and not waits
    answers = [answer(chance) for _ in range(chance.randrange(1, MOST_ANSWERS + 1))]
    if small_buffer:  # what comes in parts, while earlier ones wait
        sizes = tuple(chance.choice(LARGE_BLOCKS) for _ in range(chance.choice((2, 3, 5))))
        answers[0] = replace(answers[0], way=chance.choice(IN_PARTS), sizes=sizes)
    return Script(
        server, sent, tuple(answers), chance.choice(_OWNERS), Reader.AT_ONCE if waits else reader,
        chance.choice(_ENDINGS), small_buffer, chance.random() < (0.6 if small_buffer else 0.2),
        chance.random() < 0.2, chance.random() < 0.2, chance.random() < 0.1, chance.random() < 0.3,
    )  # fmt: skip


def _cut(chance: random.Random, asked: list[bytes], data: bytes) -> list[bytes]:
    """As the client sends it: each request when the last one is answered, or ahead, whole, or cut anywhere."""
    way = chance.random()
    if asked and way < 0.55:
        return asked
    if way < 0.7:
        return [data]
    if way < 0.75:
        return pieces(chance, data)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((1, 1, 2, 3, 6))))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


def simpler(script: Script) -> Iterator[Script]:
    """What is left of a script with something left out, or as it usually is."""
    plainest = Script()
    for name in (
        "server",
        "owner",
        "reader",
        "ending",
        "small_buffer",
        "short_turns",
        "beside",
        "seconds_pass",
        "forgets",
        "chance",
    ):
        usual = getattr(plainest, name)
        if getattr(script, name) != usual:
            yield replace(script, **{name: usual})
    answers = script.answers
    if len(answers) > 1:
        yield from (replace(script, answers=answers[:at] + answers[at + 1 :]) for at in range(len(answers)))
    for at, given in enumerate(answers):
        if given != PLAINEST:
            yield from (
                replace(script, answers=(*answers[:at], less, *answers[at + 1 :])) for less in _simpler_answer(given)
            )
    sent = script.pieces
    yield from (replace(script, pieces=sent[:at] + sent[at + 1 :]) for at in range(len(sent)))
    yield from (
        replace(script, pieces=(*sent[:at], sent[at] + sent[at + 1], *sent[at + 2 :])) for at in range(len(sent) - 1)
    )


def _simpler_answer(given: Answer) -> Iterator[Answer]:
    yield PLAINEST
    usual = {
        "way": "list", "status": "200 OK", "headers": Headers.LIST, "length": None, "reading": Reading.NOT,
        "event": Event.NOTHING, "late": False, "changes": 0, "sizes": (2,),
    }  # fmt: skip
    for name, value in usual.items():
        if getattr(given, name) != value:
            yield replace(given, **{name: value})
    for at in range(len(given.pairs)):
        yield replace(given, pairs=given.pairs[:at] + given.pairs[at + 1 :])
