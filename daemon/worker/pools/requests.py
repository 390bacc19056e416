"""What surrounds a call of the application in the epoll pool: before it, after it, and when it lasts too long."""

from __future__ import annotations

from typing import Any

from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Slot, bucket

from ...engine import request_ids
from ...engine.call import Exchange, Phase
from ...engine.environ import request_environ
from ...http.head import RequestLine
from ..context import NANOSECONDS, Context, Duty
from ..orders import Orders
from ..timeouts import expire
from .crew import Member
from .peer import Peer
from .progress import input_waits

_SERVE = Duty.SERVE
_REQUEST_ID = request_ids.VARIABLE
_FIRSTS = scoreboard.FIRSTS
_T_STATE, _T_START, _T_TEXT = scoreboard.T_STATE, scoreboard.T_START, scoreboard.T_TEXT
_T_NUMBER = scoreboard.T_NUMBER


def begin(context: Context, me: Member, peer: Peer, now: int) -> tuple[Exchange, dict[str, Any]]:
    """What precedes the call, on the thread that makes it."""
    line: Any = peer.line  # it and the head are there, as the request is complete
    head: Any = peer.head
    environ = request_environ(peer, context.settings.script_name, peer.proxy)
    ids = context.request_ids
    cells, cell = context.slot.cells, me.cell  # as `show`, which would be one call more
    if peer.proxy is None or not (request_id := ids.given(environ)):
        cells[cell + _T_NUMBER] = number = next(ids.numbers)
        request_id = f"{ids.prefix}{number}"
    else:
        context.slot.show_given_id(cell, request_id)
    environ[_REQUEST_ID] = request_id
    exchange = Exchange(
        peer,
        line.method,
        head.http11,
        head.persistent and context.duty is _SERVE and not (context.partings and _parts(context, peer)),
        context.server_fields,
        context,
        context.request_variables(),
        request_id,
    )
    if head.http11:
        environ["wsgi.early_hints"] = exchange.early_hints
    cells[cell + _T_START] = now  # before it can be looked at: its state may be that of the last request still
    peer.exchange = exchange
    peer.environ = environ
    me.peer = peer
    if me.text is not line.text:
        show_text(context.slot, me, line)
    cells[cell + _T_STATE] = 1
    return exchange, environ


def _parts(context: Context, peer: Peer) -> bool:
    """Whether this answer is the connection's last, for its client to find a worker that has fewer.

    Not the first one, and none behind which the client has sent more: that would be lost.
    """
    if not peer.requests or peer.pending or input_waits(peer.sock):
        return False
    try:
        context.partings.pop()
    except IndexError:
        return False  # another thread was faster
    return True


def show(slot: Slot, me: Member, line: RequestLine, now: int) -> None:
    """Put what a thread runs into its sub-slot."""
    if me.text is not line.text:
        show_text(slot, me, line)
    slot.cells[me.cell + _T_START] = now
    slot.cells[me.cell + _T_STATE] = 1


def show_text(slot: Slot, me: Member, line: RequestLine) -> None:
    """The request line, if it is another one than the thread's last."""
    me.text = text = line.text
    start = (me.cell + _T_TEXT) * 8
    slot.memory[start : start + len(text)] = text


def account(context: Context, peer: Peer, exchange: Exchange, took: int) -> None:
    """Count an answered request; the loop's owner alone."""
    if exchange.phase is Phase.EXPIRED:
        return  # counted when it expired
    if not peer.requests:
        context.slot.cells[_FIRSTS] += 1
    peer.requests += 1
    context.record(peer, exchange, peer.environ, took)


def check_running(context: Context, orders: Orders, members: list[Member], now: int) -> None:
    """Answer for requests that exceed `request_timeout`."""
    limit = context.settings.request_timeout
    if not limit:
        return
    cells = context.slot.cells
    for member in members:
        peer = member.peer
        exchange = peer.exchange if peer is not None else None  # before its state and start: see `begin`
        if peer is None or exchange is None or not cells[member.cell + _T_STATE]:
            continue
        if now - cells[member.cell + _T_START] > limit * NANOSECONDS:
            expire(context, orders, peer, exchange, peer.environ, member.number, now)


def record_wait(cells: memoryview, waited_ns: int, requests: int) -> None:
    """So many complete requests have each waited for so long until the application was called."""
    cells[scoreboard.QUEUE_SUM] += waited_ns * requests
    cells[scoreboard.QUEUE_BUCKETS + bucket(waited_ns)] += requests
