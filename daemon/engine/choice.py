"""Which engines there are, and which of them runs in this process.

Whatever loads can be asked for by name (`server.engine`); "auto" takes the first of ENGINES that does, and says why if
that is not the first. Light: the configuration imports it for the names alone. Whoever chooses an engine loads it:
before the application is imported, once for all workers of a generation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..unpatched import Socket, select
    from .contract import Conversation, Doze, GoOn, Turn, Unusual
    from .listening_socket import ListeningSocket
    from .openings.opening import Make
    from .site import Site

AUTO = "auto"


class Begin(Protocol):
    """An engine, for those who use it: begins conversations. It is the class of them."""

    @property
    def engine(self) -> str:
        """Its name."""

    @property
    def turn(self) -> Callable[[select.epoll, dict[int, Conversation], Unusual, GoOn, int], Turn]:
        """Makes the turns of a loop."""

    @property
    def doze(self) -> Doze | None:
        """For who watches a loop; None: the engine has none."""

    @property
    def access_lines(self) -> Callable[..., Callable[..., bytes]] | None:
        """Who renders usual lines of the access log faster: `daemon.log.access_format.Faster`. None: nobody."""

    @property
    def append(self) -> Callable[[memoryview, memoryview], Any] | None:
        """Makes what appends to a ring of the log faster: `daemon.log.ring.MakeAppend`. None: nobody."""

    def trim_memory(self) -> None:
        """Give memory that is allocated and free back to the system (malloc_trim(3)), where that can be asked for."""

    def streamed(self) -> Make:
        """What begins conversations whose bytes go through an object that behaves like a socket, as TLS does."""

    def __call__(self, site: Site, sock: Socket, base: dict[str, Any], now: int, /) -> Conversation:
        """A conversation with a new client: see the contract."""

    def accept(self, site: Site, listening: ListeningSocket, now: int, /) -> Conversation:
        """The same with the next client of a listening socket. Raises OSError, also if there is none."""


class Engine(NamedTuple):
    """One of those that there are."""

    name: str
    load: Callable[[], Begin]  # raises ImportError: in words, why it does not run in this process; see builds.NoBuild


class Chosen(NamedTuple):
    """The one that runs."""

    begin: Begin
    why: str = ""  # why it is not one that "auto" would rather take

    @property
    def name(self) -> str:
        """As the engine itself says."""
        return self.begin.engine

    def __str__(self) -> str:
        """For people: "plain: no build for CPython 3.14"."""
        return ": ".join(filter(None, (self.name, self.why)))


class EngineError(Exception):
    """The engine that was asked for does not run here; in words for an operator, with the remedy."""


def _compiled() -> Begin:
    builds = importlib.import_module(f"{__package__}.builds")
    found: Begin = builds.load().Conversation
    return found


def _plain() -> Begin:
    found: Begin = importlib.import_module(f"{__package__}.plain").Conversation
    return found


# The fastest first; the last one runs everywhere.
ENGINES = [Engine("compiled", _compiled), Engine("plain", _plain)]


def names() -> list[str]:
    """All that can be asked for."""
    return [engine.name for engine in ENGINES]


def available() -> list[str]:
    """Those that run in this process."""
    return [engine.name for engine in ENGINES if _loads(engine)]


def choose(wanted: str) -> Chosen:
    """The engine to run here, for a value of `server.engine`. Raises EngineError."""
    reasons: list[str] = []
    for engine in ENGINES:
        if wanted not in {AUTO, engine.name}:
            continue
        try:
            return Chosen(engine.load(), "; ".join(reasons))
        except ImportError as error:
            if wanted != AUTO:
                others = " or ".join(f'"{name}"' for name in (AUTO, *available()))
                remedy = getattr(error, "remedy", "")
                raise EngineError(
                    f'server.engine = "{wanted}" does not run here: {error}; {others} does{remedy and f", or {remedy}"}'
                ) from None
            reasons.append(str(error))
    raise EngineError(f'server.engine = "{wanted}" is not known here, but {", ".join(names())}')


def _loads(engine: Engine) -> bool:
    try:
        engine.load()
    except ImportError:
        return False
    return True
