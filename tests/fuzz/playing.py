"""Plays a script to a worker: its client, the owner of its loop, and its application, one step after the other."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import replace
from typing import Any

from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.contract import Awaited, Outcome, Refusal, Stage
from miniwsgi.daemon.engine.presence import LEFT

from .answer_ways import give
from .answers import Answer, Connection, Event
from .conversations import BESIDE, MEANWHILE, SERVERS, Ending, Owner, Reader, Script
from .engine_worker import LISTENER, PLAY, UNIX_LISTENER, Environ, Seen, Worker

MOST_STEPS = 2000  # of one script, before it counts as one that does not end
SMALL_BUFFER_BYTES = 4096
READ_BYTES = 1 << 16
_SHOWN = {str, int, bool, tuple, type(None)}
# Tuples: members of an Enum are hashed in Python, and compared by identity.
_ENDS = (Outcome.END, Outcome.GONE)
_SOMETIMES = (Owner.BOTH, Owner.TURNS_AND_POOL)
_REFUSABLE = (Stage.READING, Stage.REQUEST)
_RESTING = (Stage.READING, Stage.CLOSED)
_OWNER, _GIVEN, _NEXT_OWNER = range(3)  # of the worker's threads


def play(worker: Worker, script: Script, *, closely: bool = False) -> Seen:
    """All of it, on a connection of its own."""
    playing = Play(worker, script)
    worker.hold(script.holding)
    try:
        playing.to_the_end()
    finally:
        playing.release()
    if not script.same_steps:
        playing.seen.steps.clear()
        worker.forget_steps()
    worker.take(playing.seen, closely=closely)
    return playing.seen


class Play:
    """One script on one worker."""

    def __init__(self, worker: Worker, script: Script, name: str = "first", thread: int = _OWNER) -> None:
        self.worker = worker
        self.script = script
        self.seen = Seen()
        self.near, self.far = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if script.small_buffer:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        unix = SERVERS[script.server].unix
        base = worker.site.connection_environ(*((UNIX_LISTENER, "") if unix else (LISTENER, ("127.0.0.1", 7))))
        base[PLAY] = name
        self.conversation: Any = worker.begin(worker.site, self.near, base, time.monotonic_ns())
        self._known = Connection()
        self._known.happen = self._happen
        self._asked = 0
        self._left = False
        self._over = False
        self._got: list[bytes] = []
        self._owner = thread
        self._closing = worker.site.closing
        self._name = name
        worker.plays[name] = self
        for each in worker.threads:
            each.turn_ends_ns = int(script.short_turns)
        self._fd = self.near.fileno()
        if script.in_turns:
            worker.conversations[self._fd] = self.conversation
            self.conversation.mask = select.EPOLLIN
            worker.epoll.register(self._fd, select.EPOLLIN)
            worker.open += 1
        self._beside = Play(worker, replace(BESIDE, server=script.server), "beside") if script.beside else None

    def to_the_end(self) -> None:
        conversation, script = self.conversation, self.script
        for piece in script.pieces:
            self._send(piece)
            if self._over:
                break
            if script.seconds_pass:
                self.worker.tick()
            if script.forgets and conversation.awaited is Awaited.REQUEST:
                conversation.forget()
        if script.reader is not Reader.NEVER:
            while not self._over:
                read = self._read()
                self._go_on()
                if not read:
                    break
        self._end()
        self.seen.steps.append((conversation.requests, conversation.stage, conversation.gone))
        if conversation.stage is not Stage.CLOSED:
            conversation.close()
        self._read()
        if self._beside is not None:
            self._beside.script = replace(self._beside.script, pieces=())
            self._beside.to_the_end()
        self.seen.sent = b"".join(self._got)
        self.seen.told = self._known.told
        if self._beside is not None:
            self.seen.told.append(self._beside.summary())

    def release(self) -> None:
        """Leave nothing behind but what the worker remembers."""
        worker = self.worker
        worker.site.closing = self._closing
        del worker.plays[self._name]
        if self._beside is not None:
            self._beside.release()
        if worker.conversations.pop(self._fd, None) is not None:
            worker.open -= 1
        self.near.close()
        self.far.close()
        for kept in self._known.kept:
            if hasattr(kept, "close"):
                kept.close()

    # --- the client ---

    def _send(self, data: bytes) -> None:
        while data and not self._over:
            try:
                data = data[self.far.send(data) :]
            except OSError:  # the engine does not take it, or it has left itself: nothing more is sent
                return
            self._go_on()
            if self.script.reader is Reader.AT_ONCE:
                self._read()
                if self.conversation.stage is not Stage.READING:  # else it waits for more, as it did before
                    self._go_on()

    def _read(self) -> bool:
        """Whatever has come; whether anything has."""
        if self._left:
            return False
        had = len(self._got)
        try:
            while data := self.far.recv(READ_BYTES):
                self._got.append(data)
                if len(data) < READ_BYTES:
                    break  # that was all
        except OSError:
            pass
        return len(self._got) > had

    def _leave(self) -> None:
        self._read()
        self._left = True
        self.far.close()

    # --- the owner of the loop ---

    def _go_on(self) -> None:
        """As far as the conversation goes without its client."""
        conversation = self.conversation
        stage = conversation.stage
        while not self._over:
            assert len(self.seen.steps) < MOST_STEPS, "it does not end"
            if stage is Stage.READING:
                if not self._readable():
                    return
                stage = self._ask()
            elif stage is Stage.UNPARSED or stage is Stage.REQUEST:
                stage = self._ask()
            elif stage is Stage.ANSWERED:
                stage = self._step("settle")
            elif stage is Stage.RESUMABLE:
                if self.script.reader is Reader.AT_ONCE:
                    self._read()
                stage = self._step("resume", self._thread(), time.monotonic_ns())
            else:  # it waits for its client
                if self.script.reader is Reader.AT_ONCE:
                    self._read()
                if stage is Stage.OVER and not conversation.unsent:
                    self._over = True
                    return
                before = stage
                stage = self._step("flush")
                if stage is before and self.script.reader is not Reader.AT_ONCE:
                    return

    def _readable(self) -> bool:
        try:
            self.near.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _gives_away(self) -> bool:
        owner = self.script.owner
        return owner is Owner.GIVES_AWAY or (owner in _SOMETIMES and self._asked % 2 == 1)

    def _leaves_waiting(self) -> bool:
        script = self.script
        return (
            script.ending is Ending.LEFT_WAITING and script.owner is not Owner.TURNS_AND_POOL and self._asked % 2 == 1
        )

    def _thread(self) -> ThreadAccount:
        # Which requests a turn answers differs: where some are the pool's, one thread has all.
        given = self._gives_away() and self.script.owner is not Owner.TURNS_AND_POOL
        return self.worker.threads[_GIVEN if given else self._owner]

    def _ask(self) -> Stage:
        """The next request, and its answer if it is whole."""
        now = time.monotonic_ns()
        stage: Stage = self.conversation.stage
        if self.script.in_turns and stage is Stage.READING:
            if self._beside is not None:
                self._beside.say()
            self.worker.turn.inline = not self._gives_away()
            self.worker.turn.wait(0)
            went_on = self.worker.turn.serve(self._thread(), now)
            self._note("turn", bool(went_on))
            stage = self.conversation.stage
            self._over = self._over or stage is Stage.CLOSED
            return stage
        if not self._gives_away():
            return self._step("serve", self._thread(), now)
        if stage is not Stage.REQUEST:
            stage = self._step("receive", now)
        if stage is Stage.REQUEST and self._leaves_waiting():
            return self._step("abandon")
        if stage is Stage.REQUEST:
            self.conversation.ready_ns = now
            stage = self._step("answer", self._thread(), now)
            if self.conversation.can_wait:
                self.seen.steps.append(("can wait",))
        return stage

    def say(self) -> None:
        """Have another request ready for the next turn, whoever it is for."""
        self._read()
        if self.conversation.stage is Stage.READING:
            for piece in self.script.pieces:
                self.far.send(piece)

    def went_on(self, outcome: Outcome, now: int) -> int:
        """What the turn has for the pool."""
        # One engine has run what was sent ahead, the other leaves that to the pool.
        if outcome is Outcome.REQUEST and self.script.owner is Owner.TURNS:
            while outcome is Outcome.REQUEST:
                outcome = self.conversation.serve(self._thread(), time.monotonic_ns())
            if outcome is Outcome.IDLE:
                return now
        if outcome is Outcome.END:  # one engine has closed some of them, the other leaves all to the pool
            self._close()
            return now
        self._note("of a turn", outcome)
        self._over = self._over or outcome in _ENDS
        return 0 if outcome is Outcome.TAKEN else now

    def _close(self) -> None:
        del self.worker.conversations[self._fd]
        self.worker.epoll.unregister(self._fd)
        self.worker.open -= 1
        self.conversation.close()
        self.conversation.hang_up()

    def unusual(self, mask: int, now: int) -> int:
        """An event that is none for the turn: the client has left, or it is not its turn to speak."""
        if self.conversation.stage is Stage.READING:
            stage = self._step("receive", now)
            if mask & LEFT and stage is Stage.REQUEST:
                self._step("abandon")
        return now

    def _step(self, call: str, *arguments: Any, **named: Any) -> Stage:
        outcome = getattr(self.conversation, call)(*arguments, **named)
        self._note(call, outcome)
        if outcome in _ENDS:
            self._over = True
        stage: Stage = self.conversation.stage
        return stage

    def _note(self, call: str, outcome: object) -> None:
        shown = self.conversation
        self.seen.steps.append(
            (call, outcome, shown.stage, shown.awaited, shown.requests, shown.ahead, shown.unsent > 0, shown.gone)
        )  # fmt: skip

    def _end(self) -> None:
        """As the script has it, from whatever stage it has come to."""
        ending, conversation = self.script.ending, self.conversation
        if self._over:
            return
        stage = conversation.stage
        odd = len(self.script.data) % 2 == 1
        if ending is Ending.REFUSED and stage in _REFUSABLE:
            self._step("refuse", tuple(Refusal)[len(self.script.data) % 3])
        elif ending is Ending.DISMISSED and conversation.awaited is Awaited.REQUEST:
            self._step("dismiss", draining=odd)
        elif ending is Ending.ABANDONED and stage is not Stage.READING:
            self._abandon()
        elif ending is Ending.CLOSED:
            self._leave()
        elif not self._left:
            self.far.shutdown(socket.SHUT_WR)
        self._go_on()
        if not self._over and conversation.stage not in _RESTING:
            self._abandon()
            self._go_on()

    def _abandon(self) -> None:
        if self._step("abandon", slow=len(self.script.data) % 2 == 1) is Stage.ANSWERED:
            self._step("settle")

    # --- the application ---

    def is_asked(self, frame: str) -> None:
        """For the route of a request, and for the frame that has begun its response, or failed.

        Of one that is over some engines ask, and some do not.
        """
        if frame != "_starts_again_later":
            self._known.told.append(f"asked in {frame}")

    def call(self, environ: Environ, start_response: Any) -> Any:
        """What the worker's application does with this connection's request."""
        shown = {
            name: value if type(value) in _SHOWN else f"<{type(value).__name__}>" for name, value in environ.items()
        }
        self.seen.environs.append((type(environ).__name__, shown))
        given = self.script.answer(self._asked)
        self._asked += 1
        if given.event is not Event.NOTHING and not (given.late and given.way == "generator"):
            self._happen(given)
        return give(self._known, given, environ, start_response)

    def _happen(self, given: Answer) -> None:
        if given.event is Event.NOTHING:
            return
        conversation, calls = self.conversation, self.worker.calls
        match given.event:
            case Event.TAKEN:
                if calls and conversation in calls:
                    calls.take(conversation)
                    self._meanwhile()
            case Event.EXPIRED:
                expired = conversation.expire(0, conversation.called_ns + 1)
                self._known.told.append(expired and expired[:2])
            case Event.GONE:
                conversation.gone = True
            case Event.CLIENT_LEFT:
                self._leave()
            case Event.PARTED:
                self.worker.site.closing = True

    def _meanwhile(self) -> None:
        """The thread that has taken the loop serves another client, from its beginning to its end."""
        self.worker.turn.settle(self.worker.threads[_NEXT_OWNER], time.monotonic_ns())
        other = Play(self.worker, replace(MEANWHILE, server=self.script.server), "meanwhile", _NEXT_OWNER)
        try:
            other.to_the_end()
        finally:
            other.release()
        self._known.told.append(other.summary())

    def summary(self) -> object:
        return [self.seen.steps, self.seen.environs, self.seen.sent, self.seen.told]
