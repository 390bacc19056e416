"""The epoll pool's threads: who runs the application, how many at once, and that the loop goes on whatever they do."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import psutil
from miniwsgi.daemon.worker.pools.epoll.loop import CHECK_NS
from miniwsgi.daemon.worker.pools.epoll.threads import ThreadPool
from miniwsgi.metrics.scoreboard import (
    BUSY_THREADS,
    CONNECTIONS,
    HANDED_OVER,
    HEARTBEAT,
    INLINE,
    TAKEN_OVER,
    WAITING,
)

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_applications import holding
from .worker_harness import Client, Site, pools
from .worker_pace import BRIEF_SECONDS, FixedPace, at_any_pace

BLOCK = b"x" * 65536


def answer_of(environ, start_response, body: object = b""):
    start_response("200 OK", [])
    return [body if isinstance(body, bytes) else str(body).encode()]


@pools("epoll-1")
def test_one_thread_is_the_main_thread(site, pool):
    record = site.record

    class Result:
        def __init__(self):
            self.left = 40

        def __iter__(self):
            return self

        def __next__(self):
            record.note(threading.current_thread() is threading.main_thread())
            self.left -= 1
            if not self.left:
                raise StopIteration
            return BLOCK

        def close(self):
            record.note(threading.current_thread() is threading.main_thread())

    def application(environ, start_response):
        record.note(threading.current_thread() is threading.main_thread())
        time.sleep(0.004)  # twice the time after which a call would be handed over
        start_response("200 OK", [])
        return Result()

    site.fork(application, pool)
    clients = [site.connect(receive_bytes=4096).get("/") for _ in range(4)]
    for client in clients:
        assert len(client.answer().body) == 39 * len(BLOCK)
    assert set(record.wait(4 * 42)) == {"True"}


def test_a_sleeping_application_gets_all_threads_and_not_one_more(site):
    now, most = [0], [0]
    lock = threading.Condition()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/most":
            return answer_of(environ, start_response, most[0])
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            lock.notify_all()
            lock.wait_for(lambda: most[0] >= 4, PATIENCE_SECONDS)  # so that all come, however slow the machine is
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return answer_of(environ, start_response)

    worker = site.fork(application, threads=4)
    clients = [site.connect() for _ in range(16)]
    for _ in range(3):
        for client in clients:
            client.get("/sleep")
        for client in clients:
            assert client.answer().status == 200
    assert site.get("/most").body == b"4"
    cells = worker.cells
    wait_for(lambda: (cells[BUSY_THREADS], cells[WAITING]) == (0, 0))
    wait_for(lambda: cells[INLINE] + cells[HANDED_OVER] + cells[TAKEN_OVER] == 49)
    # The application's, the loop's, the watcher, the log's, the one that sends what is held.
    assert worker.process.num_threads() <= 4 + 1 + 1 + 1 + 1


def hello_that_can_be(site: Site, held: Callable[[], object], prepare: Callable[[], None] = lambda: None) -> Client:
    """The client of a worker that has just started; /held calls `held` inside the application."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/held":
            held()
        return answer_of(environ, start_response, b"hello")

    site.fork(application, prepare=prepare)
    client = site.connect()
    client.get("/").answer()
    return client


def test_a_worker_that_was_stopped_for_a_moment_hands_nothing_over(site):
    """Its call lasts for 60 ms, and no thread would have helped it."""
    client = hello_that_can_be(site, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    (worker,) = site.workers
    client.get("/held")
    wait_for(lambda: worker.process.status() == psutil.STATUS_STOPPED)
    time.sleep(0.06)
    worker.signal(signal.SIGCONT)
    assert client.answer().body == b"hello"
    ends = time.monotonic_ns() + 2.5 * CHECK_NS  # the pace is looked at twice
    while time.monotonic_ns() < ends:
        client.get("/").answer()
        time.sleep(0.02)  # few requests: each that is long weighs
    assert worker.cells[HANDED_OVER] == 0


def test_a_worker_whose_calls_block_for_less_hands_them_over(site):
    client = hello_that_can_be(site, lambda: time.sleep(0.01))
    (worker,) = site.workers

    def handed_over() -> bool:
        client.get("/held").answer()
        return worker.cells[HANDED_OVER] > 0

    wait_for(handed_over)


def test_where_few_calls_block_a_relief_takes_the_loop_and_nothing_is_handed_over(site):
    def prepare() -> None:
        FixedPace.install()
        FixedPace.mixed = True
        ThreadPool._take_over = lambda *_arguments: None  # the watcher, which would do it later

    client = hello_that_can_be(site, lambda: time.sleep(0.01), prepare)
    (worker,) = site.workers

    def taken_over() -> bool:
        client.get("/held").answer()
        return worker.cells[TAKEN_OVER] > 0

    # Not always by the first: the relief may have looked before the call.
    wait_for(taken_over, "a call that is taken over, of hundreds", seconds=15)
    assert worker.cells[HANDED_OVER] == 0


def test_nobody_watches_calls_while_all_are_handed_over(site):
    """A look costs the processor, and whoever looks finds nothing: the owner calls nobody."""

    def prepare() -> None:
        FixedPace.install()
        FixedPace.slow = True

    def application(environ, start_response):
        return answer_of(environ, start_response, " ".join(thread.name for thread in threading.enumerate()))

    site.fork(application, threads=4, prepare=prepare)
    client = site.connect()
    names = [client.get("/").answer().body.decode() for _ in range(3)]
    assert "mw-thread" in names[-1]
    assert "mw-watch" not in names[-1]


@at_any_pace("the clients have to send in time")
def test_the_loop_goes_on_when_all_threads_are_busy(site, limit):
    application, gate = holding(site)
    worker = site.fork(application, threads=3, head_timeout=limit, keep_alive_timeout=4 * limit)
    kept = site.connect()
    kept.get("/kept").answer()
    busy = [site.connect().get("/hold") for _ in range(5)]
    site.record.wait(3)
    wait_for(lambda: (worker.cells[BUSY_THREADS], worker.cells[WAITING]) == (3, 2))
    beat = worker.cells[HEARTBEAT]
    assert site.connect().send(b"garbage\r\n\r\n").answer().status == 400
    slow = site.connect().send(b"GET / HT")
    assert [response.status for response in slow.end()] == [408]
    assert kept.end() == []  # its keep-alive time is over
    assert worker.cells[HEARTBEAT] > beat
    assert site.record.lines() == ["begun"] * 3
    late = site.connect().get("/late")
    gate.open(5)
    for client in busy:
        assert client.answer().body == b"/hold"
    assert late.answer().body == b"/late"


def test_time_is_looked_at_although_each_turn_costs_its_thread_the_loop(site):
    """Calls that are never handed over before they begin, and all last: no thread comes to the end of its turn."""

    def application(environ, start_response):
        time.sleep(0.005)
        return answer_of(environ, start_response)

    slow = site.connect().send(b"GET / HT")
    busy = [site.connect().get("/") for _ in range(6)]
    pace = FixedPace.install
    worker = site.fork(application, prepare=pace, threads=8, head_timeout=BRIEF_SECONDS, request_timeout=600)

    def ended_among_many() -> bool:
        for client in busy:
            client.answer()
            client.get("/")
        return not slow.silent(0) and worker.cells[TAKEN_OVER] > 50

    wait_for(ended_among_many, "the slow one's end, among many that were taken over", every_seconds=0)
    assert [response.status for response in slow.end()] == [408]


def test_every_part_of_a_result_is_made_on_the_thread_that_was_called(site):
    """Slow readers pause generators while other requests pass the loop from thread to thread."""
    record = site.record

    class Result:
        def __init__(self, number):
            self.number, self.left = number, 40
            self.note("call")

        def note(self, what):
            record.note(f"{self.number} {threading.get_ident()} {what}")

        def __iter__(self):
            return self

        def __next__(self):
            self.note("next")
            self.left -= 1
            if self.left % 16 == 0:
                time.sleep(0.005)
            if self.left < 0:
                raise StopIteration
            return BLOCK

        def close(self):
            self.note("close")

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            time.sleep(0.004)
            return answer_of(environ, start_response)
        start_response("200 OK", [])
        return Result(path[1:])

    worker = site.fork(application, threads=4)
    readers = [site.connect(receive_bytes=4096) for _ in range(6)]
    vanishing = site.connect(receive_bytes=4096).get("/vanished")
    assert vanishing.take()
    sleepers = [site.connect() for _ in range(8)]
    for number, reader in enumerate(readers):
        for sleeper in sleepers:
            sleeper.get("/sleep")
        reader.get(f"/{number}")
    answers = 0
    for turn in range(50):
        for reader in readers:
            reader.take()
        if turn == 25:
            vanishing.reset()
        for sleeper in sleepers:
            answers += sleeper.answer().status == 200
            sleeper.get("/sleep")
    for reader in readers:
        assert len(reader.answer().body) == 40 * len(BLOCK)
        reader.close()
    for sleeper in sleepers:
        sleeper.answer()
        sleeper.close()
    wait_for(lambda: not worker.cells[CONNECTIONS])
    wait_for(lambda: sum(line.endswith("close") for line in record.lines()) == 7, "each is closed")
    seen: dict[str, list[tuple[str, str]]] = {}
    for line in record.lines():
        number, thread, what = line.split()
        seen.setdefault(number, []).append((thread, what))
    assert len(seen) == 7
    for number, events in seen.items():
        assert len({thread for thread, _what in events}) == 1, (number, events)
        steps = [what for _thread, what in events]
        assert steps[0] == "call"
        assert steps[-1] == "close"
        assert steps.count("close") == 1
        assert steps.count("next") == 41 or number == "vanished"
    assert len({events[0][0] for events in seen.values()}) > 1, "the loop never changed hands"


def paused(site: Site):
    """/paused gives 640 KiB, then waits at a gate of its own; /slow and /fast say whether calls are given away."""
    site.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # so that it is paused early
    application, gate = holding(site)
    rest, record = site.gate(), site.record

    def prepare():
        from miniwsgi.daemon.worker.pools.epoll import threads

        FixedPace.install()
        threads._WATCH_NS = 1_000_000_000  # on a busy machine also what is fast may last

    def result():
        yield 10 * BLOCK
        record.note("rest")
        rest.wait()
        yield b"end"

    def with_pause(environ, start_response):
        if environ["PATH_INFO"] == "/paused":
            start_response("200 OK", [])
            return result()
        if environ["PATH_INFO"] in {"/slow", "/fast"}:
            FixedPace.slow = environ["PATH_INFO"] == "/slow"
        return application(environ, start_response)

    return with_pause, prepare, gate, rest


def test_a_result_that_blocks_when_it_is_resumed_does_not_hold_the_loop(site):
    application, prepare, _gate, rest = paused(site)
    worker = site.fork(application, prepare=prepare)
    reader = site.connect(receive_bytes=4096).get("/paused")
    reader.take()
    assert site.get("/fast").status == 200
    assert worker.cells[TAKEN_OVER] == 0, "another thread leads"
    time.sleep(0.3)  # the watcher goes to sleep when nothing has been called for 40 ms
    reader.take_until(lambda: "rest" in site.record.lines())
    assert site.connect().get("/other").answer().body == b"/other"
    rest.open()
    assert reader.answer().body.endswith(b"end")


def test_a_result_is_not_resumed_by_the_last_thread_that_could_keep_the_loop(site):
    application, prepare, gate, rest = paused(site)
    worker = site.fork(application, prepare=prepare, threads=2)
    reader = site.connect(receive_bytes=4096).get("/paused")  # inline: its thread leads on
    reader.take()
    assert site.get("/slow").status == 200  # from here on requests are handed over
    busy = [site.connect().get("/hold") for _ in range(3)]
    site.record.wait(2)
    assert worker.cells[TAKEN_OVER] == 0, "another thread leads"
    drain = threading.Thread(target=reader.answer)
    drain.start()
    wait_for(lambda: worker.cells[WAITING] == 2)  # a request and the rest of the result
    assert site.connect().send(b"garbage\r\n\r\n").answer().status == 400
    assert "rest" not in site.record.lines()
    gate.open()  # one thread is free: for the result, although a request was there before it
    wait_for(lambda: "rest" in site.record.lines())
    assert site.connect().send(b"garbage\r\n\r\n").answer().status == 400
    rest.open()
    gate.open(2)
    drain.join()
    for client in busy:
        assert client.answer().body == b"/hold"
    assert site.get("/fast").status == 200
    wait_for(lambda: (worker.cells[BUSY_THREADS], worker.cells[WAITING]) == (0, 0))


def blocks_a_while(environ, start_response):
    time.sleep(0.02)
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]


@pools("epoll-8")
def test_without_threads_the_owner_of_the_loop_runs_what_it_would_hand_over(site, pool):
    def prepare() -> None:
        original = threading.Thread.start

        def start(thread):
            if thread.name.startswith("mw-"):
                raise RuntimeError("can't start new thread")
            original(thread)

        threading.Thread.start = start

    site.fork(blocks_a_while, pool, prepare=prepare)
    clients = [site.connect().get(f"/{number}") for number in range(20)]
    for number, client in enumerate(clients):
        assert client.answer().body == b"/%d" % number
    for number, client in enumerate(clients):
        assert client.get(f"/again{number}").answer().body == b"/again%d" % number
