"""Orders of events in the epoll pool that no client can bring about at will.

On the plain engine, whose steps can be traced.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Conversation, Outcome, Stage
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context, Duty
from miniwsgi.daemon.worker.pools.epoll import threads as threads_module
from miniwsgi.daemon.worker.pools.epoll.loop import REST_MILLISECONDS, EpollPool
from miniwsgi.daemon.worker.pools.epoll.threads import Thread
from miniwsgi.daemon.worker.timeouts import check_running
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import BUSY_THREADS, HANDED_OVER, REJECTED, T_START, T_STATE, WAITING

from tests.support.waiting import PATIENCE_SECONDS

NOW = 10**12


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


@pytest.fixture
def pool() -> Iterator[EpollPool]:
    """A pool of 4 threads that nobody runs."""
    board = Board.create()
    board.claim(0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = Settings(
            generation=1,
            listeners=(Listener(os.dup(listening.fileno()), "x", False, "127.0.0.1", "80"),),
            scoreboard_fd=board.fd,
            module="x",
            directory="/",
            threads=4,
            request_timeout=1.0,
        )
        log = ErrorLog("info", "text", False, "worker", slot=0)
        context = Context(settings, board, 0, log, None, application, choose("plain"))
        yield EpollPool(context, SimpleNamespace(fds=list, read=None, deaf=False, has_master=False))


class Socket:
    """A client that has sent a request and takes everything."""

    send = staticmethod(len)

    def __init__(self) -> None:
        self.received = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]

    def recv(self, _size: int) -> bytes:
        if not self.received:
            raise BlockingIOError
        return self.received.pop()


def complete(pool: EpollPool) -> Conversation:
    """A client whose request is here."""
    listener = pool.context.settings.listeners[0]
    conversation = pool.context.converse(Socket(), listener, ("127.0.0.1", 1), NOW)  # type: ignore[arg-type]
    assert conversation.receive(NOW) is Outcome.REQUEST
    conversation.mask = select.EPOLLIN
    return conversation


def owned(pool: EpollPool, thread: Thread) -> Conversation:
    """A client of whose result this thread has given a part; it reads again."""
    stream = complete(pool)
    stream.thread, stream.stage, stream._complete = thread, Stage.PAUSED, False
    assert stream.flush() is Outcome.RESUME
    pool._act(stream, Outcome.RESUME, NOW)
    return stream


def test_what_was_handed_over_to_nobody_known_and_is_gone_has_been_taken(pool, monkeypatch):
    """The owner can start no thread; while it says so, one that the watcher is just starting takes the request."""
    taken = []

    def start_thread(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads_module, "start_thread", start_thread)
    pool.context.log = SimpleNamespace(limited=lambda *_told: taken.append(pool._threads.backlog.popleft()))
    conversation = complete(pool)
    assert pool._hand_over(conversation, NOW)
    assert pool._threads.is_alone
    assert taken == [conversation]
    assert (pool.outstanding, pool.slot.cells[HANDED_OVER]) == (1, 1)


def test_a_worker_that_fails_leaves_though_its_error_cannot_be_told(pool, monkeypatch):
    class UntoldError(Exception):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    left = []
    monkeypatch.setattr(pool.context, "leave_at_once", left.append)
    with pytest.raises(RuntimeError):  # the process would be gone by now
        pool._broken(UntoldError())
    assert left == [1]


def test_a_request_is_not_seen_with_the_start_of_the_last_one(pool):
    """Whoever looks after those that take too long may do so between any two of its steps."""
    me = pool._threads.threads[0]
    cells = pool.slot.cells
    conversation = complete(pool)
    cells[me.cell + T_STATE], cells[me.cell + T_START], conversation.called_ns = 1, NOW - 10**10, NOW - 10**10
    me.conversation = conversation
    seen = []

    def look(*_arguments):
        if threading.get_ident() == main:
            seen.append((check_running(pool.context, pool.orders, [me], NOW), pool.slot.running()[0].started_ns))
        return look

    main = threading.get_ident()
    sys.settrace(look)
    try:
        conversation.answer(me, NOW)
    finally:
        sys.settrace(None)
    assert len(seen) > 50
    assert {expired for expired, _started in seen} == {False}
    assert conversation.settle() is Outcome.IDLE


@pytest.mark.parametrize(
    ("requests_before", "sent_ahead", "partings", "lasts"),
    [(1, b"", 0, True), (1, b"", 1, False), (0, b"", 1, True), (1, b"GET / HTTP/1.1\r\n", 1, True)],
    ids=["nothing to give up", "one to give up", "not with its first answer", "not when more has come"],
)
def test_a_connection_ends_with_an_answer_when_others_have_fewer(
    pool: EpollPool, requests_before: int, sent_ahead: bytes, partings: int, lasts: bool
) -> None:
    conversation = complete(pool)
    acceptor = pool._acceptor
    acceptor._balance = SimpleNamespace(surplus=lambda _mine: partings)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent_ahead)
        conversation.sock, conversation.requests = ours, requests_before
        acceptor.look()
        conversation.answer(pool._threads.threads[0], NOW)
        assert (b"Connection: close" not in theirs.recv(1000)) is lasts
    assert conversation.settle() is (Outcome.IDLE if lasts else Outcome.LAST)
    assert len(acceptor._surplus) == (partings if lasts else 0)


@pytest.mark.parametrize("in_flight", [0, 4])
def test_a_result_that_waits_for_its_busy_thread_takes_no_other(pool: EpollPool, in_flight: int) -> None:
    """Of four threads three are inside the application; to one of them belongs a stream that its client reads again."""
    threads, cells = pool._threads, pool.slot.cells
    threads.watching = True
    pool._in_flight = in_flight
    for number in (1, 2, 3):
        threads.threads.append(Thread(number, pool.slot, 0, threads.calls))
        threads.threads[number].conversation = complete(pool)
        pool._taken_over(threads.threads[number].conversation)
    owned(pool, threads.threads[1])
    pool._show_outstanding()
    assert (cells[BUSY_THREADS], cells[WAITING], pool.outstanding) == (3, 1, 4)
    assert pool._go_on(threads.threads[0], complete(pool), Outcome.REQUEST, NOW)
    assert (pool._turn.served, cells[HANDED_OVER], cells[REJECTED]) == (1, 0, 0)
    threads.threads[1].conversation = None  # it is done, and takes the stream now
    assert pool._in_hand() == 4


class Waits(Exception):
    """The owner waits for clients."""


def turn_that_waits() -> SimpleNamespace:
    """A turn of which there is only the wait."""

    def wait(_seconds: float) -> int:
        raise Waits

    return SimpleNamespace(settle=lambda _thread, now: now, others=[], served=0, inline=True, wait=wait)


@pytest.mark.parametrize(
    ("waiting", "mail", "duty", "rests"),
    [
        (2, False, Duty.SERVE, True),
        (1, False, Duty.SERVE, False),  # a thread that is done may want another one soon
        (2, True, Duty.SERVE, False),  # whoever is done wakes the owner for its own results
        (2, False, Duty.DRAIN, False),
    ],
)
def test_the_owner_looks_at_no_client_for_a_moment_while_plenty_of_requests_wait(
    pool: EpollPool, waiting: int, mail: bool, duty: Duty, rests: bool
) -> None:
    threads, rested = pool._threads, []
    for _ in range(waiting):
        threads.backlog.append(complete(pool))
        pool._count_outstanding(1)
    if mail:
        threads.owner.mailbox.append(complete(pool))
        pool._may_resume = lambda: False  # type: ignore[method-assign]
    pool.orders.expired = lambda _now: False  # type: ignore[method-assign]
    pool.context.duty = duty
    pool.context.site.closing = duty is not Duty.SERVE
    pool._next_second_ns = pool._next_check_ns = 1 << 62
    pool._messages.rest = rested.append  # type: ignore[method-assign]
    pool._turn = turn_that_waits()
    with pytest.raises(Waits):
        pool._loop(threads.owner)
    assert rested == [REST_MILLISECONDS] * rests
    assert pool.slot.cells[BUSY_THREADS] == waiting
    assert not threads._scarce


def test_a_rest_ends_with_what_wakes_the_owner_which_is_told_of_it_again(pool: EpollPool) -> None:
    pool._messages.wake()
    pool._messages.rest(int(PATIENCE_SECONDS * 1000))
    ((fd, _mask),) = pool.epoll.poll(0)
    pool._messages.read(fd)
    assert not pool.epoll.poll(0)


def test_the_owners_own_results_wait_for_no_other_thread(pool: EpollPool) -> None:
    for _ in range(4):
        owned(pool, pool._threads.owner)
    assert pool._in_hand() == 0
    assert pool._may_resume()
    assert not pool._threads._reserved


@pytest.mark.parametrize("after_crash", [False, True])
def test_answers_wait_for_each_other_unless_the_last_worker_crashed(after_crash: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        board = Board.create()
        board.claim(0)
        settings = Settings(
            generation=1, listeners=(Listener(os.dup(listening.fileno()), "x", False, "127.0.0.1", "80"),),
            scoreboard_fd=board.fd, module="x", directory="/",
        )  # fmt: skip
        log = ErrorLog("info", "text", False, "worker", slot=0)
        context = Context(settings, board, 0, log, None, application, choose("auto"), after_crash=after_crash)
        made = EpollPool(context, SimpleNamespace(fds=list, read=None, deaf=False, has_master=False))
        assert made._turn.holds is not after_crash


def test_whoever_takes_the_loop_settles_what_is_held_before_it_waits(pool: EpollPool) -> None:
    """Should that cost it the loop, nothing else of the loop is looked at."""
    told: list[object] = []

    def settle(thread: Thread, now: int) -> int:
        told.append(thread)
        return 0

    pool._turn = SimpleNamespace(settle=settle, others=[])  # anything else is not there to be called
    me = pool._threads.owner
    assert pool._loop(me) is False
    assert told == [me]
