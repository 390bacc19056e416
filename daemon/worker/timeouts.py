"""What happens to a request that exceeds `request_timeout`, in every pool and thread.

Its client is answered by whoever notices, the worker accepts nothing more, and the master, which is told, boots a
replacement and ends this worker when its other requests have had their time. Where there is no master to do that, in
pool single and in the processes of pool fork, the answer is all.
"""

from __future__ import annotations

from collections.abc import Sequence

from miniwsgi.codes import Code
from miniwsgi.metrics.scoreboard import SlotState

from ..engine.account import ThreadAccount
from .context import NANOSECONDS, Context, Duty
from .orders import Orders


def check_running(context: Context, orders: Orders, threads: Sequence[ThreadAccount], now: int) -> bool:
    """Answer for the requests that have taken too long; whether there was one. Any thread but theirs."""
    limit_ns = int(context.settings.request_timeout * NANOSECONDS)
    if not limit_ns:
        return False
    found = False
    for thread in threads:
        conversation = thread.conversation
        expired = conversation.expire(limit_ns, now) if conversation is not None else None
        if expired is None:
            continue
        found = True
        context.log.error(
            Code.REQUEST_TIMEOUT,
            f"a request exceeded timeouts.request: {expired.request}"
            + ("; this worker accepts no more and is replaced" if orders.has_master else ""),
            seconds=round(expired.seconds, 1),
            thread=thread.number,
            request_id=expired.request_id,
            **({"trace_id": expired.trace_id} if expired.trace_id else {}),
        )
        if not orders.has_master:
            continue
        if context.duty in {Duty.SERVE, Duty.CLOSING}:
            context.duty = Duty.DRAIN
            context.slot.state = SlotState.DRAINING
        orders.tell("timeout", thread=thread.number, seconds=expired.seconds, request=expired.request)
    return found
