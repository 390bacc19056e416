"""The end of a call against the watcher that takes the loop over, in a real worker: nothing is lost in either order."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from types import SimpleNamespace

import pytest
from miniwsgi.metrics.scoreboard import (
    ABORTED,
    ACCEPTED,
    BUCKETS,
    BUSY_THREADS,
    CLOSED,
    CONNECTIONS,
    ERRORS,
    FIRSTS,
    HANDED_OVER,
    INLINE,
    METHODS,
    REQUESTS,
    S_BUCKETS,
    S_KEY,
    S_SUM,
    SERIES,
    SERIES_AT,
    SERIES_CELLS,
    TAKEN_OVER,
    WAITING,
)

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_harness import Client, Site, Worker
from .worker_pace import FixedPace


def sleeping(environ, start_response):
    """Sleeps as long as the query says (µs) and gives the path back; /threads says how many there are."""
    query = environ["QUERY_STRING"]
    if query:
        time.sleep(int(query) / 1e6)
    body = environ["PATH_INFO"]
    if body == "/threads":
        body = " ".join(sorted(thread.name for thread in threading.enumerate()))
    start_response("200 OK", [])
    return [body.encode()]


def histogram(worker: Worker) -> dict[tuple[str, int], tuple[int, int]]:
    """Count and sum (ns) of each series in the slot."""
    cells, found = worker.cells, {}
    for number in range(SERIES):
        at = SERIES_AT + number * SERIES_CELLS
        if key := cells[at + S_KEY]:
            label = METHODS[key & 0xFF], key >> 8 & 0xFFFF
            found[label] = sum(cells[at + S_BUCKETS + n] for n in range(BUCKETS)), cells[at + S_SUM]
    return found


def settled(worker: Worker, requests: int, connections: int) -> None:
    """The scoreboard agrees with what the clients have counted, and nothing is left over."""
    cells = worker.cells
    wait_for(lambda: cells[CONNECTIONS] == 0, "all connections are closed")
    wait_for(lambda: cells[REQUESTS] == requests, f"{requests} requests, not {cells[REQUESTS]}")
    wait_for(lambda: cells[ACCEPTED] == cells[CLOSED] == connections)
    wait_for(lambda: cells[INLINE] + cells[HANDED_OVER] + cells[TAKEN_OVER] == requests)
    wait_for(lambda: (cells[BUSY_THREADS], cells[WAITING]) == (0, 0))
    wait_for(lambda: not worker.slot.running())
    assert sum(count for count, _total in histogram(worker).values()) == requests


# --- either order, forced ---------------------------------------------------------------------------------------------


def call_ends_first() -> None:
    """The watcher takes a token only after the call that it has found to last has ended."""
    from miniwsgi.daemon.worker.pools.epoll.threads import ThreadPool

    original = ThreadPool._take_over

    def late(threads, owner):
        conversation = owner.conversation
        while conversation in threads.calls:
            time.sleep(0.0001)
        original(threads, SimpleNamespace(conversation=None))  # as it was then; by now the next call may have begun

    ThreadPool._take_over = late


def watcher_first(stage: str):
    """The watcher has the token, and goes on only when the call's thread has given its connection back."""

    def prepare() -> None:
        from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool

        original = EpollPool.__init__

        def delayed(pool, *arguments):
            original(pool, *arguments)
            threads = pool._threads

            def until_the_call_is_over() -> None:
                deadline = time.monotonic() + 0.1
                while not pool.returned and threads.owner.conversation is not None and time.monotonic() < deadline:
                    time.sleep(0.0001)
                time.sleep(0.0002)  # its thread looks for work

            taken_over, unpark = threads._taken_over, threads.unpark

            def slow_taken_over(conversation):
                if stage == "before it is told":
                    until_the_call_is_over()
                taken_over(conversation)
                if stage == "before the loop is free":
                    until_the_call_is_over()

            def slow_unpark():
                if threading.current_thread().name == "mw-watch" and stage == "before another is roused":
                    until_the_call_is_over()
                unpark()

            threads._taken_over, threads.unpark = slow_taken_over, slow_unpark

        EpollPool.__init__ = delayed
        FixedPace.install()  # on a slow machine the pool would learn to hand each call over before it begins

    return prepare


def converse(site: Site, clients: int, requests: int, sleep_us) -> None:
    """Each client sends its requests one after the other and checks each answer."""
    failures = []

    def run(number: int) -> None:
        try:
            client = Client(site.address)
            for turn in range(requests):
                path = f"/{number}/{turn}"
                body = client.get(f"{path}?{sleep_us(number, turn)}").answer().body
                assert body == path.encode(), (body, path)
            client.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_a_connection_that_is_given_back_slowly_is_not_overslept(site):
    """The loop may look, and go to sleep, while a thread is about to give a connection back."""

    def prepare() -> None:
        from miniwsgi.daemon.worker.pools.epoll import loop

        class Slow(deque):
            def append(self, conversation):
                time.sleep(0.002)
                super().append(conversation)

        original = loop.EpollPool.__init__

        def with_slow_return(pool, *arguments):
            original(pool, *arguments)
            pool.returned = Slow()

        loop.EpollPool.__init__ = with_slow_return
        loop.IDLE_WAIT_SECONDS = 10 * PATIENCE_SECONDS  # nothing else wakes the loop
        FixedPace.install()
        FixedPace.slow = True

    site.fork(sleeping, prepare=prepare)
    client = site.connect()
    for _ in range(20):
        assert client.get("/x").answer().body == b"/x"


def test_a_call_that_ends_before_the_watcher_has_its_token_goes_on_inline(site):
    worker = site.fork(sleeping, prepare=call_ends_first)
    converse(site, 4, 20, lambda _number, _turn: 4000)
    settled(worker, 80, 4)
    assert worker.cells[TAKEN_OVER] == 0


@pytest.mark.parametrize("stage", ["before it is told", "before the loop is free", "before another is roused"])
def test_a_call_that_ends_while_the_watcher_takes_over_loses_nothing(site, stage):
    worker = site.fork(sleeping, prepare=watcher_first(stage))
    rounds = 0
    while not rounds or (not worker.cells[TAKEN_OVER] and rounds < 20):  # the watcher may always have come too late
        rounds += 1
        converse(site, 6, 30, lambda number, turn: 3000 if (number + turn) % 3 else 0)
    settled(worker, 180 * rounds, 6 * rounds)
    assert worker.cells[TAKEN_OVER] > 0


# --- whatever order comes ---------------------------------------------------------------------------------------------


def always_inline() -> None:
    """Never hand over before the call: each request may be taken over."""
    FixedPace.install()


def wide_windows() -> None:
    """0.2 ms in each window of the hand-over, in whichever thread."""
    from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool
    from miniwsgi.daemon.worker.pools.epoll.threads import ThreadPool

    def widen(owner, name, when):
        original = getattr(owner, name)

        def delayed(*arguments):
            if "before" in when:
                time.sleep(0.0002)
            result = original(*arguments)
            if "after" in when:
                time.sleep(0.0002)
            return result

        setattr(owner, name, delayed)

    widen(ThreadPool, "_take_over", "before")
    widen(EpollPool, "_taken_over", "before after")
    widen(EpollPool, "_give_back", "before after")
    widen(ThreadPool, "_park", "before")
    widen(ThreadPool, "unpark", "before after")
    always_inline()


def as_is() -> None:
    """The pool learns whether to hand calls over before they begin."""


@pytest.mark.parametrize("prepare", [as_is, always_inline, wide_windows], ids=["as is", "inline", "wide windows"])
def test_thousands_of_requests_around_the_threshold_are_all_answered(site, prepare):
    """Pipelined ones among them, and clients that vanish."""
    worker = site.fork(sleeping, prepare=prepare, threads=6)
    failures: list[BaseException] = []
    counted = [0] * 12
    connections = [0] * 12

    def run(number: int) -> None:
        generator = random.Random(number)
        try:
            for _ in range(4):
                connections[number] += 1
                client = Client(site.address)
                for turn in range(20):
                    paths = [f"/{number}/{turn}/{n}" for n in range(generator.choice([1, 1, 2, 5]))]
                    sleeps = [generator.choice([0, 0, 1500, 1900, 2000, 2100, 2500]) for _ in paths]
                    requests = [
                        f"GET {path}?{us} HTTP/1.1\r\nHost: x\r\n\r\n" for path, us in zip(paths, sleeps, strict=True)
                    ]
                    data = "".join(requests).encode()
                    cut = generator.randrange(len(data))
                    client.send(data[:cut])
                    client.send(data[cut:])
                    for path in paths:
                        body = client.answer().body
                        assert body == path.encode(), (bytes(body), path)
                        counted[number] += 1
                client.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    settled(worker, sum(counted), sum(connections))
    assert sum(counted) > 1500
    assert worker.cells[TAKEN_OVER] > 0 or prepare is as_is
    assert worker.cells[FIRSTS] == sum(connections)
    assert (worker.cells[ABORTED], worker.cells[ERRORS]) == (0, 0)
    names = site.get("/threads").body.decode().split()
    assert len(names) <= 1 + 6 + 2, names  # MainThread, six more, the watcher; a log's writer
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0


def test_vanishing_clients_leave_nothing_behind(site):
    """Reset before, while and after the application runs; the others get their answers."""
    worker = site.fork(sleeping, threads=6)
    stop = threading.Event()

    def vanish(seed: int) -> None:
        generator = random.Random(seed)
        while not stop.is_set():
            client = Client(site.address)
            client.send(f"GET /gone?{generator.choice([0, 1900, 2100, 5000])} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(generator.choice([0, 0.001, 0.002, 0.003]))
            client.reset()

    threads = [threading.Thread(target=vanish, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        converse(site, 6, 60, lambda number, turn: [0, 1900, 2100][(number + turn) % 3])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    cells = worker.cells
    wait_for(lambda: cells[CONNECTIONS] == 0)
    wait_for(lambda: cells[ACCEPTED] == cells[CLOSED])
    wait_for(lambda: (cells[BUSY_THREADS], cells[WAITING]) == (0, 0))
    assert histogram(worker)["GET", 200][0] >= 360
    wait_for(lambda: histogram(worker).get(("GET", 499), (0, 0))[0] == cells[ABORTED])
    wait_for(lambda: sum(count for count, _sum in histogram(worker).values()) == cells[REQUESTS])
