"""What happens to a request that exceeds `request_timeout`, in every pool and thread.

Its client is answered by whoever notices, the worker accepts nothing more, and the master, which is told, boots a
replacement and ends this worker when its other requests have had their time. Where there is no master to do that, in
pool single and in the processes of pool fork, the answer is all.
"""

from __future__ import annotations

from typing import Any, Protocol

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed

from ..engine.call import Exchange
from ..http.body import Spool
from ..unpatched import socket
from .context import Context, Duty
from .orders import Orders


class Timed(Protocol):
    """A connection whose request is being answered."""

    sock: socket.socket
    started_ns: int
    body: Spool | None
    closed: Closed
    requests: int  # answered on it before


def expire(
    context: Context,
    orders: Orders,
    peer: Timed,
    exchange: Exchange,
    environ: dict[str, Any],
    thread: int,
    now: int,
) -> None:
    """Answer 504 in the application's place if no head is out, else cut the connection. Any thread but its own."""
    answer = exchange.expire()
    if answer is None:
        return
    try:
        if answer:
            peer.sock.send(answer, socket.MSG_DONTWAIT)
        peer.sock.shutdown(socket.SHUT_RDWR if not answer else socket.SHUT_WR)
    except OSError:
        pass
    took = now - peer.started_ns
    exchange.status = "504 Gateway Timeout"  # for the record, also if another one is on the wire
    context.slot.cells[scoreboard.TIMED_OUT] += 1
    if not peer.requests:
        context.slot.cells[scoreboard.FIRSTS] += 1
    context.record(peer, exchange, environ, took)
    request = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}"
    context.log.error(
        f"a request exceeded timeouts.request: {request}"
        + ("; this worker accepts no more and is replaced" if orders.has_master else ""),
        seconds=round(took / 1e9, 1),
        thread=thread,
        request_id=exchange.request_id,
    )
    if not orders.has_master:
        return
    if context.duty in {Duty.SERVE, Duty.CLOSING}:
        context.duty = Duty.DRAIN
        context.slot.state = scoreboard.SlotState.DRAINING
    orders.tell("timeout", thread=thread, seconds=took / 1e9, request=request)
