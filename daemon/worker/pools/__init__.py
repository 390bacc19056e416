"""How a worker waits and runs: one module a pool, of which a worker loads the one it serves with.

It is loaded before the application (`worker.interpreter`): see `unpatched`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from ..context import Context
from ..orders import Orders


class Pool(Protocol):
    """One instance a worker."""

    def __init__(self, context: Context, orders: Orders) -> None: ...

    def run(self) -> None:
        """Serve; returns when the duty is done or its time is over. Called on the main thread."""


_POOLS = {
    "epoll": ("epoll.loop", "EpollPool"),
    "fork": ("fork", "ForkPool"),
    "prefork": ("prefork", "PreforkPool"),
    "single": ("prefork", "PreforkPool"),  # without a master
}


def pool_class(name: str) -> type[Pool]:
    """Of server.pool; loads what it needs."""
    module, of = _POOLS[name]
    found: type[Pool] = getattr(import_module(f".{module}", __name__), of)
    return found


def start(context: Context, orders: Orders) -> None:
    """Serve with the configured pool until its duty is done."""
    pool_class(context.settings.pool)(context, orders).run()
