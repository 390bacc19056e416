"""One thread that runs the application and waits for its clients itself: what prefork, fork and single share.

Requests are read as they come, so that a slow client holds nobody up; an answer is sent to its end before the next
request is looked at, with a deadline for a client that does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engine.account import ThreadAccount
from ...engine.after_fork import process
from ...engine.contract import Conversation, Outcome, Stage
from ...engine.presence import ENDED, LEFT, probe
from ...engine.progress import NotRead, Progress
from ...settings import Settings
from ...unpatched import select, time
from ..context import NANOSECONDS, Context, Duty
from ..orders import Orders
from ..timeouts import check_running
from .patience import Patience

EVENTS = select.POLLIN | ENDED  # what a poller has to ask for
STAYS = frozenset({Outcome.IDLE, Outcome.MORE, Outcome.AGAIN, Outcome.REQUEST})  # the conversation goes on
PARTS = frozenset({Outcome.LAST, Outcome.REFUSED})  # it is over, and to be closed in stages: see `lingering`
_UNSENT = frozenset({Outcome.REFUSED, Outcome.UNSENT})  # with an answer of the server's own
_EAGER = frozenset({Stage.REQUEST, Stage.UNPARSED})


class LoneThread:
    """Serves conversations one request at a time. `me` shows what it runs; `crowded`: others wait for this thread."""

    def __init__(self, context: Context, orders: Orders, me: ThreadAccount, crowded: Callable[[], bool]) -> None:
        self.me = me
        self._context = context
        self._orders = orders
        self._patience = Patience(context.settings)
        self._next_second_ns = 0
        site = context.site
        site.parts = lambda _conversation: crowded()
        application = site.application

        def then_keep_signals(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            try:
                return application(environ, start_response)
            finally:
                if not process.forked:
                    orders.keep_signals()  # before the answer is out: whoever has that may send one

        site.application = then_keep_signals

    def converse(self, conversation: Conversation, mask: int) -> Outcome:
        """Take what has come and answer the first request in it; `mask` is what a poller has just told of the client.

        To be called when the client has sent something, and at once again while it is `eager`.
        """
        now = time.monotonic_ns()
        if now >= self._next_second_ns:
            self._next_second_ns = now + NANOSECONDS
            self._context.site.server_fields.refresh()
        stage = conversation.stage
        outcome = Outcome.REQUEST if stage is Stage.REQUEST else conversation.receive(now)
        if outcome is Outcome.REQUEST:
            if mask & LEFT:  # while others were served
                return conversation.abandon()
            if mask & ENDED:
                probe(conversation.sock)
            outcome = self._answer(conversation)
        if outcome in _UNSENT and conversation.unsent:
            outcome = send_rest(conversation, Progress(conversation.sock, self._context.settings))
        return outcome

    def _answer(self, conversation: Conversation) -> Outcome:
        site, me = self._context.site, self.me
        answer_to_the_end(conversation, me, time.monotonic_ns(), self._context.settings)
        me.end()
        site.account.served(0, 1)  # it has waited in the kernel, if at all
        return conversation.settle()

    def overdue(self, conversation: Conversation, idle_seconds: float, now: int) -> Outcome | None:
        """What becomes of a conversation whose client has been too slow; None: it has not.

        `idle_seconds` is the patience between requests.
        """
        idle_ns = int(idle_seconds * NANOSECONDS)
        waited_ns = now - conversation.since_ns
        if (waited_ns < idle_ns and waited_ns < self._patience.shortest_ns) or is_eager(conversation):
            return None
        draining = self._context.duty is not Duty.SERVE
        outcome = self._patience.look(conversation, idle_ns, now, draining=draining)
        if outcome is Outcome.REFUSED and conversation.unsent:
            outcome = send_rest(conversation, Progress(conversation.sock, self._context.settings))
        return outcome

    def check_running(self, now: int) -> bool:
        """Called by another thread: answer for the application if `request_timeout` is over; True if so."""
        return check_running(self._context, self._orders, (self.me,), now)


def answer_to_the_end(conversation: Conversation, thread: ThreadAccount, now: int, settings: Settings) -> None:
    """Call the application, and wait for the client until it has all of the answer; `settle` is to follow."""
    outcome = conversation.answer(thread, now)
    if outcome is Outcome.PAUSED or conversation.unsent:
        progress = Progress(conversation.sock, settings)
        while send_rest(conversation, progress) is Outcome.RESUME:
            conversation.resume(thread, time.monotonic_ns())


def send_rest(conversation: Conversation, progress: Progress) -> Outcome:
    """Wait for the client until there is room for more, or nothing is left."""
    outcome = conversation.flush()
    while outcome is Outcome.UNSENT:
        try:
            progress.wait()
        except NotRead:
            outcome = conversation.abandon(slow=True)
        else:
            outcome = conversation.flush()
    return outcome


def is_eager(conversation: Conversation) -> bool:
    """Whether the client has sent more than what has been answered: the next request, or part of it."""
    return conversation.stage in _EAGER
