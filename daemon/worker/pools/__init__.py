"""How a worker waits and runs: one module a pool."""

from __future__ import annotations

from ..context import Context
from ..orders import Orders


def start(context: Context, orders: Orders) -> None:
    """Serve with the configured pool until its duty is done. Only that pool's code is imported."""
    pool = context.settings.pool
    if pool == "epoll":
        from .epoll import EpollPool

        EpollPool(context, orders).run()
    elif pool == "fork":
        from .fork import ForkPool

        ForkPool(context, orders).run()
    else:  # "prefork" and "single": one process, one request at a time
        from .prefork import PreforkPool

        PreforkPool(context, orders).run()
