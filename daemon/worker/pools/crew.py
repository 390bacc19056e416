"""The threads of an epoll worker: one at a time leads (runs the loop), the others run requests or are parked.

The rules:
1. There is one seat. Whoever takes it leads, until the loop ends or the watcher takes it away and puts it back for
   another thread: nobody gets the loop in another way.
2. Before a leader calls the application it puts a token on its own list of `calls`; after the call it takes it back.
   The watcher, when a call lasts, takes it too: `list.pop` gives it to one of them. Who gets it has the loop.
3. A leader that lost its token finishes its request as any other thread would.
4. Requests wait in `backlog`; a connection whose result is pulled in parts waits in its own thread's mailbox, because
   results belong to the thread that called the application.
5. Whoever looks for work looks at the seat, in its mailbox, in the backlog, in this order, and parks only after it has
   looked once more while it could already be seen as parked.
6. A leader makes no call unless another thread is free to take the seat. Has it results to go on with while all are
   busy, it reserves: from then on whoever is done leaves the backlog alone, parks and wakes the leader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from miniwsgi.metrics.scoreboard import T_IDENT, T_START, Slot

from ...unpatched import Lock, get_ident, start_thread, time

if TYPE_CHECKING:
    from .peer import Peer

WATCH_SECONDS = 0.002  # a call that lasts longer than this is left to its thread, the loop goes on without it
CALM_WATCH_SECONDS = 0.008  # between looks while all calls are short: each look costs the leader the interpreter
CALM_NS = 1_000_000_000  # so long after the last call that was not
_WATCH_NS = int(WATCH_SECONDS * 1e9)
_IDLE_LOOKS = 20  # looks without any call before the watcher parks


class Member:
    """One thread of the crew; `cell` is where its sub-slot begins in the scoreboard."""

    __slots__ = ("calls", "cell", "gate", "mailbox", "number", "peer", "text")

    def __init__(self, number: int, slot: Slot) -> None:
        self.number = number
        self.cell = slot.thread_cell(number)
        slot.cells[self.cell + T_START] = time.monotonic_ns()  # not 0: whoever looks at the slot stops at the first 0
        self.gate = Lock()
        self.gate.acquire()
        self.calls: list[Peer] = []  # the token of rule 2: not shared, else a former leader would take the next one's
        self.mailbox: deque[Peer] = deque()
        self.peer: Peer | None = None  # whose request it runs
        self.text = b""  # in its sub-slot: the beginning of a request line

    def __repr__(self) -> str:
        return f"<Member {self.number} {self.peer}>"


class Crew:
    """`size` threads that run requests, and one more that keeps the loop. `lead` returns when the pool has ended
    (True) or the loop was lost (False); `work` runs one request of a peer; `lost` is told by the watcher whose request
    cost its thread the loop, while nobody has it; `wake` ends the leader's waiting; `broken` is told what a thread died
    of, and ends the process."""

    def __init__(
        self,
        slot: Slot,
        size: int,
        lead: Callable[[Member], bool],
        work: Callable[[Member, Peer], None],
        lost: Callable[[Peer], None],
        wake: Callable[[], None],
        broken: Callable[[BaseException], NoReturn],
    ) -> None:
        self._slot = slot
        self._size = size
        self._lead = lead
        self._work = work
        self._lost = lost
        self._wake = wake
        self._broken = broken
        self.backlog: deque[Peer] = deque()
        self.members = [Member(0, slot)]
        self._parked: list[Member] = []
        self._seat: list[bool] = [True]
        self._reserved = False  # rule 6; only who leads writes it
        self._hiring = Lock()  # leader and watcher may both need another thread
        self._ended = False
        self.watching = False  # somebody looks how long calls last
        self._watch_gate = Lock()
        self._watch_gate.acquire()
        self._has_watcher = False
        self.leader = self.members[0]
        self.long_call_ns = time.monotonic_ns()  # when a call was last seen to be long; whoever sees one writes it

    def __repr__(self) -> str:
        return f"<Crew {len(self.members)}/{self._size + 1} parked={len(self._parked)} backlog={len(self.backlog)}>"

    def run(self) -> None:
        """The main thread's part; returns when the pool has ended and this thread runs nothing more."""
        self._live(self.members[0])

    # --- for the leader ---

    def give(self, peer: Peer) -> None:
        """Have another thread run the complete request of `peer`. Raises RuntimeError as `rouse`; it waits then."""
        self.backlog.append(peer)
        self.rouse()

    def withdraw(self, peer: Peer) -> bool:
        """Whether the request was still waiting in the backlog, and now is not."""
        try:
            self.backlog.remove(peer)
        except ValueError:
            return False
        return True

    def rouse(self) -> None:
        """See that one thread looks for work. Raises RuntimeError if there is none and none can be started."""
        try:
            self._parked.pop().gate.release()
        except IndexError:
            self._hire()

    def post(self, peer: Peer) -> None:
        """Have the thread that owns the result of `peer` go on with it."""
        member: Member = peer.owner
        member.mailbox.append(peer)
        try:
            self._parked.remove(member)
        except ValueError:
            return  # it will look when it has finished
        member.gate.release()

    def behind(self) -> int:
        """How many results wait behind what their own thread runs: no other thread may go on with them."""
        found = 0
        for member in self.members:
            if member.mailbox:
                # One that runs nothing is about to take the first; should it be done by now, one too few is found.
                runs = member.peer is not None or member is self.leader
                found += max(0, len(member.mailbox) - (not runs))
        return found

    @property
    def is_alone(self) -> bool:
        """Whether there is no thread but the leader: none could be started."""
        return len(self.members) == 1

    def may_resume(self, others: int) -> bool:
        """Whether the leader may go on with its own results while others have, or wait for, so many requests.

        Not if that could leave the loop to nobody. `release` is to be called when it has none left.
        """
        if others < self._size:
            return True
        self._reserved = True  # first: whoever is seen to be parked afterwards stays so
        return bool(self._parked) or len(self.members) <= self._size

    def release(self) -> None:
        """No thread need be kept free any more."""
        if self._reserved:
            self._reserved = False
            for _ in range(len(self.backlog)):
                try:
                    self._parked.pop().gate.release()
                except IndexError:
                    break

    def watch(self) -> None:
        """A call begins: see that somebody watches it."""
        if not self.watching:
            self.watching = True
            if self._has_watcher:
                self._watch_gate.release()
                return
            try:
                self._start(self._watch, (), "mw-watch")
                self._has_watcher = True
            except RuntimeError:  # no more threads here, now: the next call tries again
                self.watching = False

    def end(self) -> None:
        """The pool has ended: let the parked go."""
        self._ended = True
        while self._parked:
            self._parked.pop().gate.release()

    # --- inside ---

    def _live(self, me: Member) -> None:
        self._slot.cells[me.cell + T_IDENT] = get_ident()
        while not self._ended:
            if self._takes_seat():
                self.leader = me
                self.release()  # that was the wish of who had it before
                if self._lead(me):
                    self.end()
            elif me.mailbox:
                self._work(me, me.mailbox.popleft())
            elif self._reserved:
                self._park(me)
            else:
                try:
                    peer = self.backlog.popleft()
                except IndexError:
                    self._park(me)
                else:
                    self._work(me, peer)

    def _takes_seat(self) -> bool:
        try:
            self._seat.pop()
        except IndexError:
            return False
        return True

    def _park(self, me: Member) -> None:
        self._parked.append(me)
        if me.mailbox or self._seat or (self.backlog and not self._reserved) or self._ended:  # rule 5: it came since
            try:
                self._parked.remove(me)
            except ValueError:
                pass  # somebody has roused us already: the gate is, or will be, open
            else:
                return
        if self._reserved:
            self._wake()
        me.gate.acquire()

    def _hire(self) -> None:
        with self._hiring:
            if len(self.members) > self._size:
                return  # all are busy: who finishes first will look
            member = Member(len(self.members), self._slot)
            self._start(self._live, (member,), f"mw-thread-{member.number}")
            self.members.append(member)

    def _start(self, work: Callable[..., None], arguments: tuple[Member, ...], name: str) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._broken(error)

        start_thread(run, name, runs_application=True)

    def _watch(self) -> None:
        cells = self._slot.cells
        idle = 0
        seen = 0
        while not self._ended:
            calm = time.monotonic_ns() - self.long_call_ns > CALM_NS
            time.sleep(CALM_WATCH_SECONDS if calm else WATCH_SECONDS)
            leader = self.leader
            started = cells[leader.cell + T_START]
            if self._seat:  # no thread could be had for it
                idle = 0
                self._fill_seat()
            elif leader.calls:
                idle = 0
                if time.monotonic_ns() - started > _WATCH_NS:
                    self._take_over(leader)
            elif started != seen:
                idle = 0
            else:
                idle += 1
                if idle > _IDLE_LOOKS:
                    idle = 0
                    self.watching = False
                    self._watch_gate.acquire()
            seen = started

    def _take_over(self, leader: Member) -> None:
        try:
            peer = leader.calls.pop()
        except IndexError:
            return  # the call has just ended: the leader was faster
        self._lost(peer)
        self.long_call_ns = time.monotonic_ns()
        self._seat.append(True)
        self._fill_seat()

    def _fill_seat(self) -> None:
        try:
            self.rouse()
        except RuntimeError:
            pass  # whoever finishes first takes the seat
