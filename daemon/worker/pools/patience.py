"""How long clients are waited for, in every pool: silence between requests, a head or a body that does not come.

A minimum of progress is measured over windows of the limit's own length.
"""

from __future__ import annotations

from ...engine.contract import Awaited, Conversation, Outcome, Refusal
from ...engine.progress import input_waits
from ...settings import Settings
from ..context import NANOSECONDS

FORGET_NS = 1 * NANOSECONDS  # after this time of silence what made the next request faster is dropped


class Patience:
    """The limits of one worker. Methods belong to whoever may call the conversation's."""

    def __init__(self, settings: Settings) -> None:
        self._head_ns = int(settings.head_timeout * NANOSECONDS)
        self._body_ns = int(settings.body_timeout * NANOSECONDS)
        self.shortest_ns = min(self._head_ns, self._body_ns)  # so long nobody is late within a request
        self._send_ns = int(settings.send_timeout * NANOSECONDS)
        self._rate = settings.minimum_rate

    def look(self, conversation: Conversation, idle_ns: int, now: int, *, draining: bool = False) -> Outcome | None:
        """What becomes of a conversation whose client is to send something; None: it is waited for.

        `idle_ns` is the patience between two requests.
        """
        waited = now - conversation.since_ns
        awaited = conversation.awaited
        if awaited is Awaited.REQUEST:
            if waited >= idle_ns:
                if not input_waits(conversation.sock):
                    return conversation.dismiss(draining=draining)
            elif waited > FORGET_NS:
                conversation.forget()
        elif awaited is Awaited.HEAD:
            if waited >= self._head_ns and not input_waits(conversation.sock):
                return conversation.refuse(Refusal.HEAD_LATE)
        elif waited >= self._body_ns and not input_waits(conversation.sock) and self._is_slow(conversation, now):
            return conversation.refuse(Refusal.BODY_SLOW)
        return None

    def reads_too_slowly(self, conversation: Conversation, now: int) -> bool:
        """Whether a client that is to read has taken less than it should in the time that it has."""
        return now - conversation.since_ns > self._send_ns and self._is_slow(conversation, now)

    def _is_slow(self, conversation: Conversation, now: int) -> bool:
        delivered = conversation.delivered()
        if delivered - conversation.since_bytes < self._rate * (now - conversation.since_ns) / NANOSECONDS:
            return True
        conversation.since_ns, conversation.since_bytes = now, delivered
        return False
