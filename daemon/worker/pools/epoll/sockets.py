"""Connections that the application takes over (WebSockets): each has a thread of its own, and none of `threads`.

A request that may take its connection is given to a thread that is made for it. Until the application has decided it
counts as any other, and at most `threads` are undecided at a time, the others wait. An ordinary answer goes back to the
loop with its conversation. A connection that was taken leaves the loop; when the call is over it is closed in stages,
by that thread. In a worker that drains it has `timeouts.sockets`; then it is shut down, by which its library ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import Closed
from miniwsgi.metrics.slot import Slot

from ....engine.account import ThreadAccount
from ....engine.contract import Conversation
from ....engine.presence import ENDED
from ....engine.upgrade import Lack, Offer
from ....unpatched import select, socket, start_thread, time
from ... import children
from ...context import NANOSECONDS, Context
from ...orders import Orders
from ..blocking import answer_to_the_end
from .clients import Clients

LINGER_MILLISECONDS = 2000  # for the client's own end, when the application has ended
LEAVE_NS = 2 * NANOSECONDS  # for threads to come out of the application, when their sockets are shut down
MARGIN_NS = NANOSECONDS  # before the worker's own end, for that
NUMBER = -1  # of these threads, where threads are told apart: they have no part of the scoreboard


class _State(Enum):
    WAITING = "waiting"  # for a thread
    UNDECIDED = "undecided"  # a thread is inside the application
    TAKEN = "taken"  # the application has the connection
    OVER = "over"


class _Elsewhere(Slot):
    """Where these threads show what they run: to nobody."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0, memoryview(bytearray(scoreboard.THREAD_CELLS * scoreboard.CELL)))

    def thread_cell(self, thread: int) -> int:
        return 0


class _Place:
    """One such connection."""

    __slots__ = ("conversation", "ended", "offer", "state", "thread")

    def __init__(self, conversation: Conversation, thread: ThreadAccount) -> None:
        self.conversation: Any = conversation
        self.thread = thread
        self.state = _State.WAITING
        self.offer: Offer | None = None
        self.ended = False  # its call is over, and the connection with it

    def __repr__(self) -> str:
        return f"<Place {self.state.value} {self.conversation}>"

    @property
    def is_taken(self) -> bool:
        return self.offer is not None and self.offer.taken

    def cut(self) -> None:
        """End the connection, whoever is using it."""
        if self.offer is not None and self.offer.end is not None:
            _shut_down(self.offer.end, socket.SHUT_RDWR)


class Sockets:
    """Of one worker. All methods belong to the owner of the loop, but for `offer`, which is for the threads.

    `give_back` takes a conversation with an ordinary answer back, `notify` has `look` called soon, `count` changes the
    number of outstanding requests, `broken` is told what a thread died of.
    """

    def __init__(
        self,
        context: Context,
        orders: Orders,
        clients: Clients,
        give_back: Callable[[ThreadAccount, Conversation, int], None],
        notify: Callable[[], None],
        count: Callable[[int], None],
        broken: Callable[[BaseException], NoReturn],
    ) -> None:
        self._context = context
        self._orders = orders
        self._clients = clients
        self._give_back = give_back
        self._notify = notify
        self._count = count
        self._broken = broken
        self._places: dict[Conversation, _Place] = {}
        self._waiting: deque[_Place] = deque()
        self._news: deque[_Place] = deque()  # of the threads: what was taken, what is over
        self._undecided = 0
        self._lack = Lack.PLACES  # of the request that was refused last
        self._ends_ns = 0  # of a worker that drains: when they are shut down …
        self._cut_ns = 0  # … and when that was
        settings = context.settings
        if settings.threads > 1 and settings.sockets:
            context.site.sockets = self
        children.withhold("sockets", lambda: [place.conversation.fileno() for place in self._places.values()])

    def __repr__(self) -> str:
        return f"<Sockets {len(self._places)} undecided={self._undecided} waiting={len(self._waiting)}>"

    def begin(self, conversation: Conversation, now: int) -> bool:
        """Have a thread of its own answer a request; False: it has none, and is to be answered like any other."""
        self._hear()
        if len(self._places) >= self._context.settings.sockets:
            self._lack = Lack.PLACES
            return False
        if not conversation.mask:  # it is new; should its client leave, that is to be seen
            self._clients.arm(conversation, select.EPOLLIN)
        conversation.ready_ns = now
        place = _Place(conversation, ThreadAccount(NUMBER, _Elsewhere(), self._context.site.request_ids.seed))
        self._places[conversation] = place
        self._waiting.append(place)
        self._count(1)
        try:
            self._start()
        except RuntimeError as error:
            self._told_of_threads(error)
            if self.cancel(conversation):
                self._count(-1)
                self._lack = Lack.THREAD
                return False
        return True

    def cancel(self, conversation: Conversation) -> bool:
        """Whether the request was still waiting for a thread, and now is not."""
        place = self._places.get(conversation)
        if place is None or place.state is not _State.WAITING:
            return False
        self._waiting.remove(place)
        self._end(place)
        return True

    def threads(self) -> list[ThreadAccount]:
        """Those inside the application for a request that may still be an ordinary one. Any thread."""
        return [place.thread for place in list(self._places.values()) if place.state is _State.UNDECIDED]

    def look(self) -> None:
        """Hear what the threads have to tell; some ten times a second, and soon after `notify`."""
        self._hear()
        if self._waiting:
            try:
                self._start()
            except RuntimeError as error:
                self._told_of_threads(error)

    def hold(self, now: int) -> bool:
        """While the worker drains: whether it has to live on for its sockets."""
        self.look()
        if not self._places:
            return False
        if not self._ends_ns:
            self._ends_ns = now + int(self._context.settings.sockets_timeout * NANOSECONDS)
        if self._orders.deadline_ns:
            self._ends_ns = min(self._ends_ns, self._orders.deadline_ns - MARGIN_NS)
        if now < self._ends_ns:
            return True
        taken = [place for place in self._places.values() if place.state is _State.TAKEN]
        if taken and not self._cut_ns:
            self._cut_ns = now
            self._context.log.info("WebSockets are shut down (timeouts.sockets)", sockets=len(taken))
            for place in taken:
                place.cut()
        if not taken or now < self._cut_ns + LEAVE_NS:
            return True
        self._context.log.warning(Code.SOCKETS_CUT_OFF, "threads of WebSockets do not end: left", threads=len(taken))
        for place in taken:
            self._count_closed(place)
        return False

    # --- for the threads ---

    def offer(self, conversation: Conversation, call: Any) -> Offer | Lack:
        place = self._places.get(conversation)
        if place is None:
            return self._lack
        place.offer = Offer(conversation, call, lambda: self._tell(place))
        return place.offer

    def _run(self, place: _Place) -> None:
        thread = place.thread
        thread.enter()
        try:
            self._serve(thread, place)
        finally:
            thread.leave()

    def _serve(self, thread: ThreadAccount, place: _Place) -> None:
        conversation = place.conversation
        now = time.monotonic_ns()
        answer_to_the_end(conversation, thread, now, self._context.settings)
        if place.offer is None or not place.offer.close():
            self._tell(place)  # first: the next request may ask the same
            self._give_back(thread, conversation, now - conversation.ready_ns)
            return
        thread.end()
        self._close(place)
        place.ended = True
        self._tell(place)

    def _tell(self, place: _Place) -> None:
        self._news.append(place)
        self._notify()

    def _close(self, place: _Place) -> None:
        """Our side first: the client has a moment to end its own, which the library may wait for."""
        offer = place.offer
        assert offer is not None
        end = offer.end
        poller = select.poll()
        poller.register(end, ENDED)
        by_client = bool(poller.poll(0))
        place.conversation.closed = Closed.CLIENT if by_client else Closed.SERVER
        _shut_down(end, socket.SHUT_WR)
        if not self._cut_ns:
            poller.poll(LINGER_MILLISECONDS)
        _shut_down(end, socket.SHUT_RDWR)
        if offer.pump is not None:
            offer.pump.join(LINGER_MILLISECONDS / 1000)
            end.close()

    # --- inside ---

    def _start(self) -> None:
        """Threads for those that wait. Raises RuntimeError if there are none."""
        while self._waiting and self._undecided < self._context.settings.threads:
            place = self._waiting[0]

            def run(place: _Place = place) -> None:
                try:
                    self._run(place)
                except BaseException as error:
                    self._broken(error)

            place.state = _State.UNDECIDED
            try:
                start_thread(run, "mw-socket", runs_application=True)
            except RuntimeError:
                place.state = _State.WAITING
                raise
            self._waiting.popleft()
            self._undecided += 1

    def _hear(self) -> None:
        while self._news:
            place = self._news.popleft()
            if place.state is _State.UNDECIDED:
                self._undecided -= 1
                if not place.is_taken:
                    self._end(place)
                    continue
                place.state = _State.TAKEN
                self._clients.release(place.conversation)
                self._context.site.account.socket_opened()
                self._count(-1)
                if self._cut_ns:
                    place.cut()
            if place.ended and place.state is _State.TAKEN:
                self._count_closed(place)
                place.conversation.close()
                place.conversation.hang_up()

    def _count_closed(self, place: _Place) -> None:
        conversation = place.conversation
        call = conversation._call
        open_ns = (conversation.ended_ns if place.ended else time.monotonic_ns()) - conversation.ready_ns
        self._context.site.account.socket_closed(conversation._environ, call.failed, open_ns)
        self._end(place)

    def _end(self, place: _Place) -> None:
        place.state = _State.OVER
        del self._places[place.conversation]

    def _told_of_threads(self, error: RuntimeError) -> None:
        told = f"no thread for a WebSocket: {error}; see TasksMax and memory"
        self._context.log.limited("threads", "error", Code.NO_THREAD, told)


def _shut_down(sock: Any, how: int) -> None:
    try:
        sock.shutdown(how)
    except OSError:
        pass  # it is already
