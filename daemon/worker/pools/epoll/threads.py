"""The threads of an epoll worker: one at a time owns the loop, the others run requests or are parked.

The rules:
1. The loop is a claim: whoever takes it owns the loop, until the loop ends or the watcher takes it away and offers it
   to another thread. Nobody gets the loop in another way.
2. Before the owner calls the application it offers the conversation as a call; after the call it takes it back. The
   watcher, when a call lasts, takes it, too. Whoever gets it has the loop.
3. An owner that lost its call finishes its request as any other thread would.
4. Requests wait in `backlog`; a conversation whose result is pulled in parts waits in its own thread's mailbox, because
   results belong to the thread that called the application.
5. Whoever looks for work looks at the loop, in its mailbox, in the backlog, in this order, and parks only after it has
   looked once more while it could already be seen as parked.
6. An owner makes no call unless another thread is free to take the loop. Has it results to go on with while all are
   busy, it reserves: from then on whoever is done leaves the backlog alone, parks and wakes the owner.
7. While the backlog has plenty, the owner may rest, and look at no client. Whoever takes one of the last requests, or
   parks, wakes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NoReturn

from miniwsgi.metrics.scoreboard import T_START
from miniwsgi.metrics.slot import Slot

from ....engine.account import ThreadAccount
from ....engine.claim import Claim, Taken
from ....engine.contract import Conversation, Doze
from ....unpatched import Lock, get_native_id, start_thread, time
from .stalls import LATE_NS, Stalls, run_delay_ns

WATCH_SECONDS = 0.002  # a call that lasts longer than this is left to its thread, the loop goes on without it
CALM_WATCH_SECONDS = 0.008  # between looks while all calls are short: each look costs the owner the interpreter
CALM_NS = 1_000_000_000  # so long after the last call that was not
_WATCH_NS = int(WATCH_SECONDS * 1e9)
_IDLE_LOOKS = 20  # looks without any call before the watcher parks


_LOOP = "the loop"


class Thread(ThreadAccount):
    """One thread of the pool."""

    __slots__ = ("gate", "mailbox", "native_id")

    def __init__(self, number: int, slot: Slot, seed: int, calls: Claim[Conversation]) -> None:
        super().__init__(number, slot, seed, calls)
        self.gate = Lock()
        self.gate.acquire()
        self.mailbox: deque[Conversation] = deque()
        self.native_id = 0  # the kernel's; 0: not begun

    def enter(self) -> None:
        super().enter()
        self.native_id = get_native_id()


class ThreadPool:
    """`size` threads that run requests, and one more that keeps the loop; `seed` as of ThreadAccount.

    `loop` returns when the pool has ended (True) or the loop was lost (False); `work` runs one request of a
    conversation; `taken_over` is told whose request cost its thread the loop, while nobody has that; `wake` ends the
    owner's waiting; `broken` is told what a thread died of, and ends the process.
    """

    def __init__(
        self,
        slot: Slot,
        size: int,
        seed: int,
        loop: Callable[[Thread], bool],
        work: Callable[[Thread, Conversation], None],
        taken_over: Callable[[Conversation], None],
        wake: Callable[[], None],
        broken: Callable[[BaseException], NoReturn],
        doze: Doze | None = None,
    ) -> None:
        self._slot = slot
        self._size = size
        self._seed = seed
        self._loop = loop
        self._work = work
        self._taken_over = taken_over
        self._wake = wake
        self._broken = broken
        self._doze = doze
        self.backlog: deque[Conversation] = deque()
        self.calls: Claim[Conversation] = Claim()  # rule 2
        self.threads = [Thread(0, slot, seed, self.calls)]
        self._parked: list[Thread] = []
        self._mailed: set[Thread] = set()  # whose mailbox may not be empty; only the owner looks here
        self._free: Claim[str] = Claim((_LOOP,))  # rule 1
        self._relief: Thread | None = None  # is on its feet, and waits for the interpreter
        self._reserved = False  # rule 6; only the owner writes it
        self._plenty = max(2, size // 2)  # so many waiting requests are enough for a while
        self._scarce = 0  # rule 7: the owner rests until fewer than so many wait; 0: it does not rest
        self._starting = Lock()  # owner and watcher may both need another thread
        self._ended = False
        self.watching = False  # somebody looks how long calls last
        self._watch_gate = Lock()
        self._watch_gate.acquire()
        self._has_watcher = False
        self.stalls = Stalls()
        self.owner = self.threads[0]
        self.long_call_ns = time.monotonic_ns()  # when a call was last seen to be long; whoever sees one writes it

    def __repr__(self) -> str:
        found = f"{len(self.threads)}/{self._size + 1} parked={len(self._parked)} backlog={len(self.backlog)}"
        return f"<ThreadPool {found}>"

    def run(self) -> None:
        """The main thread's part; returns when the pool has ended and this thread runs nothing more."""
        self._run_thread(self.threads[0])

    # --- for the owner ---

    def submit(self, conversation: Conversation) -> None:
        """Have another thread run its complete request. Raises RuntimeError as `unpark`: then it waits."""
        self.backlog.append(conversation)
        self.unpark()

    def cancel(self, conversation: Conversation) -> bool:
        """Whether the request was still waiting in the backlog, and now is not."""
        try:
            self.backlog.remove(conversation)
        except ValueError:
            return False
        return True

    def unpark(self) -> None:
        """See that one thread looks for work. Raises RuntimeError if there is none and none can be started."""
        if not self._parked and len(self.threads) > self._size:
            return  # all are busy: who finishes first will look
        try:
            self._parked.pop().gate.release()
        except IndexError:
            self._start_another()

    def post(self, conversation: Conversation) -> None:
        """Have the thread that called the application for its result go on with that."""
        thread = conversation.thread
        assert isinstance(thread, Thread)
        thread.mailbox.append(conversation)
        self._mailed.add(thread)
        try:
            self._parked.remove(thread)
        except ValueError:
            return  # it will look when it has finished
        thread.gate.release()

    def behind(self) -> int:
        """How many results wait behind what their own thread runs: no other thread may go on with them."""
        if not self._mailed:
            return 0
        self._mailed = {thread for thread in self._mailed if thread.mailbox}
        found = 0
        for thread in self._mailed:
            # One that runs nothing is about to take the first; should it be done by now, one too few is found.
            runs = thread.conversation is not None or thread is self.owner
            found += max(0, len(thread.mailbox) - (not runs))
        return found

    def run_delay_ns(self) -> int:
        """How long the threads have waited for a processor, in all."""
        return run_delay_ns([thread.native_id for thread in self.threads if thread.native_id])

    @property
    def is_alone(self) -> bool:
        """Whether there is no thread but the owner: none could be started."""
        return len(self.threads) == 1

    def may_resume(self, others: int) -> bool:
        """Whether the owner may go on with its own results while others have, or wait for, so many requests.

        Not if that could leave the loop to nobody. `release` is to be called when it has none left.
        """
        if others < self._size:
            return True
        self._reserved = True  # first: whoever is seen to be parked afterwards stays so
        return bool(self._parked) or len(self.threads) <= self._size

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
            now = time.monotonic_ns()
            self.stalls.expect(now, now)
            if self._has_watcher:
                self._watch_gate.release()
                return
            try:
                self._start(self._watch, (), "mw-watch")
                self._has_watcher = True
            except RuntimeError:  # no more threads here, now: the next call tries again
                self.watching = False
                self.stalls.rest()

    def stand_by(self) -> None:
        """Calls that may block begin: have a thread wait for the interpreter, which one that blocks lets go.

        It takes the loop over then, without any delay. A call that does not block keeps the loop, and costs no
        request the way to another thread. Who finds no call under way parks again.
        """
        if self._relief is None:
            try:
                thread = self._relief = self._parked.pop()
            except IndexError:
                try:
                    self._start_another(relief=True)
                except RuntimeError:
                    pass  # the watcher will find somebody
            else:
                thread.gate.release()

    def may_rest(self) -> bool:
        """Whether so many requests wait for threads that there is no haste to find more: rule 7.

        Then `rested` is to be called when the owner looks at its clients again.
        """
        if self._reserved or len(self.backlog) < self._plenty:
            return False
        self._scarce = self._plenty // 2 + 1  # first: whoever takes a request that is counted here sees it
        if len(self.backlog) >= self._plenty:
            return True
        self._scarce = 0
        return False

    def rested(self) -> None:
        """The owner looks at its clients again."""
        self._scarce = 0

    def end(self) -> None:
        """The pool has ended: let the parked go."""
        self._ended = True
        while self._parked:
            self._parked.pop().gate.release()

    # --- inside ---

    def _run_thread(self, me: Thread) -> None:
        me.enter()
        while not self._ended:
            if self._relief is me:
                self._relief = None
                self._take_call(self.owner)
            if self._free and self._takes_loop():
                self.owner = me
                self.release()  # that was the wish of who had it before
                if self._loop(me):
                    self.end()
            elif me.mailbox:
                self._work(me, me.mailbox.popleft())
            elif self._reserved:
                self._park(me)
            else:
                try:
                    conversation = self.backlog.popleft()
                except IndexError:
                    self._park(me)
                else:
                    if self._scarce and len(self.backlog) < self._scarce:
                        self._end_rest()
                    self._work(me, conversation)

    def _end_rest(self) -> None:
        """Once, whoever comes first; should another one be as fast, it is woken twice."""
        self._scarce = 0
        self._wake()

    def _takes_loop(self) -> bool:
        try:
            self._free.take(_LOOP)
        except Taken:
            return False
        return True

    def _park(self, me: Thread) -> None:
        self._parked.append(me)
        if me.mailbox or self._free or (self.backlog and not self._reserved) or self._ended:  # rule 5: it came since
            try:
                self._parked.remove(me)
            except ValueError:
                pass  # somebody has unparked us already: the gate is, or will be, open
            else:
                return
        if self._reserved:
            self._wake()
        elif self._scarce:
            self._end_rest()
        me.gate.acquire()

    def _start_another(self, *, relief: bool = False) -> None:
        with self._starting:
            if len(self.threads) > self._size:
                return  # all are busy: who finishes first will look
            thread = Thread(len(self.threads), self._slot, self._seed, self.calls)
            if relief:
                self._relief = thread
            try:
                self._start(self._run_thread, (thread,), f"mw-thread-{thread.number}")
            except RuntimeError:
                if relief:
                    self._relief = None
                raise
            self.threads.append(thread)

    def _start(self, work: Callable[..., None], arguments: tuple[Thread, ...], name: str) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._broken(error)

        start_thread(run, name, runs_application=True)

    def _watch(self) -> None:
        cells, stalls = self._slot.cells, self.stalls
        idle = 0
        seen = 0
        while not self._ended:
            now = time.monotonic_ns()
            seconds = CALM_WATCH_SECONDS if now - self.long_call_ns > CALM_NS else WATCH_SECONDS
            nanoseconds = int(seconds * 1e9)
            owner = self.owner
            stalls.expect(now, now + nanoseconds)
            looks = 1
            if self._doze is None:
                time.sleep(seconds)
            else:
                looks = self._doze(cells, owner.cell, stalls.expected, nanoseconds, _WATCH_NS, LATE_NS)
            now = time.monotonic_ns()
            stalls.expect(now, now)
            owner = self.owner
            started = cells[owner.cell + T_START]
            if self._free:  # no thread could be had for it
                idle = 0
                self._find_owner()
            elif self.calls:
                idle = 0
                if now - started - stalls.within(started, now) > _WATCH_NS:
                    self._take_over(owner)
            elif started != seen:
                idle = 0
            else:
                idle += looks
                if idle > _IDLE_LOOKS:
                    idle = 0
                    stalls.rest()
                    self.watching = False
                    self._watch_gate.acquire()
            seen = started

    def _take_over(self, owner: Thread) -> None:
        if self._take_call(owner):
            self.long_call_ns = time.monotonic_ns()
            self._find_owner()

    def _take_call(self, owner: Thread) -> bool:
        """Have the loop be free, if its owner is in a call."""
        conversation = owner.conversation
        try:
            self.calls.take(conversation)
        except Taken:
            return False  # the call has just ended, or the next one begins: the owner was faster
        self._taken_over(conversation)
        self._free.offer(_LOOP)
        return True

    def _find_owner(self) -> None:
        try:
            self.unpark()
        except RuntimeError:
            pass  # whoever finishes first takes it
