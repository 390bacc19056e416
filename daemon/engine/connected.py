"""`environ["miniwsgi.connected"]`: whether the client of the request is still there, for an application that would
rather stop than compute for nobody.

One object for all requests of a worker, so that no request pays for it: the request is the one that the calling thread
runs.
"""

from __future__ import annotations

from ..unpatched import select
from .account import running_here
from .presence import ENDED

VARIABLE = "miniwsgi.connected"


class Connected:
    """The callable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<whether the client is still there>"

    def __call__(self) -> bool:
        """False: it has closed its connection, or sends no more, which only a client that has left does as a rule.

        Raises RuntimeError on a thread that runs no request: one of the application's own.
        """
        thread = running_here()
        if thread is None:
            raise RuntimeError(f"{VARIABLE} is to be called on the thread that runs the request")
        conversation = thread.conversation
        if conversation is None:  # nobody has asked: a worker that tries its application out
            return True
        if conversation.gone:
            return False
        poller = select.poll()
        poller.register(conversation.fileno(), ENDED)
        return not poller.poll(0)
