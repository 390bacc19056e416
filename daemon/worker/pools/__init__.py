"""How a worker waits and runs: one module a pool. All are imported with the worker: see `unpatched`."""

from __future__ import annotations

from ..context import Context
from ..orders import Orders
from .epoll.loop import EpollPool
from .fork import ForkPool
from .prefork import PreforkPool

_POOLS: dict[str, type[EpollPool | ForkPool | PreforkPool]] = {
    "epoll": EpollPool,
    "fork": ForkPool,
    "prefork": PreforkPool,
    "single": PreforkPool,  # without a master
}


def start(context: Context, orders: Orders) -> None:
    """Serve with the configured pool until its duty is done."""
    _POOLS[context.settings.pool](context, orders).run()
