"""Which listeners have something before the first request, and what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ...settings import Listener, Settings
from ...unpatched import Socket
from ..site import Site
from .opening import Make, Opening, Step

NANOSECONDS = 1_000_000_000
MakeStep = Callable[[], Step]
Opener = Callable[[Socket, Any, int], Opening]  # a client's socket, its address as of accept(2), now


def openers(
    site: Site, make_of: Callable[[Listener], Make], settings: Settings, handshake_of: Callable[[Listener], MakeStep]
) -> Mapping[int, Opener]:
    """What makes openings, by the descriptors of the listeners that have them; for most workers it is empty.

    `make_of` gives the class of a listener's conversations, `handshake_of` makes the TLS handshakes of one that has
    TLS.
    """
    found: dict[int, Opener] = {}
    for listener in settings.listeners:
        if steps := _steps(listener, settings, handshake_of):
            found[listener.fd] = partial(_open, steps, site, make_of(listener), listener)
    return found


def _steps(listener: Listener, settings: Settings, handshake_of: Callable[[Listener], MakeStep]) -> list[MakeStep]:
    """What makes the steps, in their order."""
    steps: list[MakeStep] = []
    if listener.proxy_protocol:
        from .proxy_header import ProxyHeader

        steps.append(partial(ProxyHeader, int(settings.head_timeout * NANOSECONDS)))
    if listener.tls is not None:
        steps.append(handshake_of(listener))
    return steps


def _open(steps: Iterable[MakeStep], *client: Any) -> Opening:
    return Opening([step() for step in steps], *client)
