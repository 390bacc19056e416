"""What a worker does on the orders of its master, on signals, and when its master is gone, in every pool."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest
from miniwsgi.daemon.channel import Channel
from miniwsgi.metrics.scoreboard import CONNECTIONS, PID, SlotState

from tests.support.waiting import wait_for

from .worker_applications import holding
from .worker_harness import Client, Site, pools
from .worker_pace import at_any_pace, hurry

DRAIN_IDLE = 0.2
LONG = 600  # of which nothing waits for the end


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


@pools()
def test_a_worker_says_that_it_is_ready_and_shows_it(site, pool):
    worker = site.fork(hello, pool)
    assert worker.slot.state is SlotState.READY
    assert worker.cells[PID] == worker.pid
    assert site.get("/x").body == b"/x"


def test_what_a_worker_has_said_is_heard_although_it_left_orders_unread():
    master, worker = Channel.pair()
    master.send("log-level", level="debug")
    worker.send("failed", error="one")
    worker.send("failed", error="two")
    worker.close()
    assert [master.receive()[0]["error"] for _ in range(2)] == ["one", "two"]
    assert master.receive() is None
    master.close()


@pools()
def test_a_ready_worker_accepts_nothing_before_its_master_knows(site, pool):
    worker = site.fork(hello, pool, ready=False)
    worker.message("ready")
    client = site.connect().get("/1")
    assert client.silent(0.2)
    worker.tell("serve")
    assert client.answer().body == b"/1"


@pools()
@pytest.mark.parametrize("instead", ["drain", "end"])
def test_a_ready_worker_may_be_sent_away_before_it_serves(site, pool, instead):
    worker = site.fork(hello, pool, ready=False)
    worker.message("ready")
    client = site.connect().get("/1")
    if instead == "drain":
        worker.tell("drain", deadline=20)
    else:
        worker.control.close()
    assert worker.wait() == 0
    assert client.silent(0)


@pools()
def test_drain_finishes_the_running_request_and_exits(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE)
    running = site.connect().get("/hold")
    site.record.wait(1)
    worker.tell("drain", deadline=20)
    if pool not in {"epoll-1", "prefork"}:  # these read orders between requests
        wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    gate.open()
    answer = running.answer()
    assert answer.body == b"/hold"
    running.end()
    assert worker.wait() == 0
    assert worker.slot.state is SlotState.STOPPED
    if pool not in {"epoll-1", "prefork"}:
        assert worker.cells[CONNECTIONS] == 0


@pools("epoll-8", "fork")
@at_any_pace("the clients have to ask before they are taken for silent")
def test_a_response_that_is_begun_while_draining_says_that_it_is_the_last(site, pool, limit):
    worker = site.fork(hello, pool, drain_idle=limit)
    kept = [site.connect() for _ in range(3)]
    for client in kept:
        assert client.get("/1").answer().all("connection") == []
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    for client in kept[:2]:
        answer = client.get("/2").answer()
        assert answer.body == b"/2"
        assert answer.all("connection") == ["close"]
        assert client.end() == []
    assert kept[2].end() == []  # the silent one is closed, without a word
    assert worker.wait() == 0


@pools("epoll-1", "prefork")
def test_the_last_request_of_a_lone_connection_is_told_so_while_draining(site, pool):
    worker = site.fork(hello, pool, drain_idle=LONG)
    client = site.connect()
    assert client.get("/1").answer().all("connection") == []
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    assert client.get("/2").answer().all("connection") == ["close"]
    assert client.end() == []
    assert worker.wait() == 0


@pools()
def test_a_draining_worker_accepts_nothing_more(site, pool):
    worker = site.fork(hello, pool, drain_idle=DRAIN_IDLE)
    client = site.connect()
    client.get("/1").answer()
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    late = site.connect().get("/late")
    client.end()
    assert worker.wait() == 0
    successor = site.fork(hello, pool)  # what the drained one left in the queue is its successor's
    assert late.answer().body == b"/late"
    assert successor.alive()


@pools()
def test_finish_answers_what_waits_in_the_accept_queue_first(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE, connections=1 if "epoll" in pool else 10)
    running = site.connect().get("/hold")
    site.record.wait(1)
    queued = [site.connect().get(f"/queued/{number}") for number in range(20)]
    worker.tell("finish", deadline=20, accept=[site.listener.fileno()])
    gate.open()
    assert running.answer().body == b"/hold"
    for number, client in enumerate(queued):
        answer = client.answer()
        assert answer.body == f"/queued/{number}".encode()
        assert client.end() == []
    running.end()
    assert worker.wait() == 0


@pools()
def test_finish_without_listeners_to_empty_is_a_drain(site, pool):
    worker = site.fork(hello, pool, drain_idle=DRAIN_IDLE)
    client = site.connect()
    client.get("/1").answer()
    worker.tell("finish", deadline=20, accept=[])
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    late = site.connect().get("/late")
    client.end()
    assert worker.wait() == 0
    assert late.silent(0)


def two_listeners(site: Site) -> tuple[tuple[object, ...], socket.socket]:
    from miniwsgi.daemon.settings import Listener

    second = socket.create_server(("127.0.0.1", 0), backlog=64)
    listeners = tuple(
        Listener(sock.fileno(), "x", False, "127.0.0.1", str(sock.getsockname()[1])) for sock in (site.listener, second)
    )
    return listeners, second


@pools()
def test_only_the_queues_of_the_named_listeners_are_emptied(site, pool):
    application, gate = holding(site)
    listeners, second = two_listeners(site)
    limit = {"threads": 2} if pool == "fork" else {"connections": 2}
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE, listeners=listeners, **limit)
    running = site.connect().get("/hold")
    site.record.wait(1)
    idle = site.connect()
    if pool != "prefork":  # it accepts between requests
        wait_for(lambda: worker.cells[CONNECTIONS] == 2 or pool == "epoll-1")
    staying = [site.connect().get("/staying") for _ in range(5)]
    leaving = [Client(second.getsockname()).get("/leaving") for _ in range(5)]
    worker.tell("drain", deadline=20, empty=[second.fileno()])
    gate.open()
    idle.close()
    running.answer()
    running.end()
    for client in leaving:
        assert client.answer().body == b"/leaving"
        client.end()
    assert worker.wait() == 0
    assert sum(client.silent(0) for client in staying) >= 3  # an order and a connection may come at once
    second.close()


@pools()
def test_closing_goes_on_and_says_that_each_response_is_the_last(site, pool):
    worker = site.fork(hello, pool, drain_idle=LONG)
    before = site.connect()
    assert before.get("/1").answer().all("connection") == []
    worker.tell("closing")
    wait_for(lambda: site.get("/probe").all("connection") == ["close"])
    assert before.get("/2").answer().all("connection") == ["close"]
    assert before.end() == []
    for number in range(5):
        assert site.get(f"/{number}").all("connection") == ["close"]
    assert worker.alive()
    worker.tell("finish", deadline=20, accept=[site.listener.fileno()])
    assert worker.wait() == 0


@pools("epoll-8", "fork")
def test_at_its_deadline_a_worker_leaves_what_still_runs(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE)
    running = site.connect().get("/hold")
    site.record.wait(1)
    worker.tell("drain", deadline=0.5)
    assert worker.wait() == 0
    assert running.end() == []


@pools()
def test_without_its_master_a_worker_finishes_and_exits(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE)
    running = site.connect().get("/hold")
    site.record.wait(1)
    worker.control.close()
    gate.open()
    assert running.answer().body == b"/hold"
    running.end()
    assert worker.wait() == 0
    assert "the master is gone" in worker.log()


@pools()
def test_a_worker_that_is_stuck_ends_after_its_master(site, pool):
    application, _gate = holding(site)
    worker = site.fork(application, pool, graceful_timeout=0.2)
    running = site.connect().get("/hold")
    site.record.wait(1)
    worker.control.close()
    assert worker.wait() in {0, -signal.SIGALRM}
    assert running.end() == []


@pools("fork")
def test_processes_outlive_a_killed_worker_only_as_long_as_they_have_work(site, pool):
    application, gate = holding(site)
    worker = site.fork(application, pool, drain_idle=DRAIN_IDLE)
    idle = site.connect()
    idle.get("/1").answer()
    running = site.connect().get("/hold")
    site.record.wait(1)
    children = worker.process.children()
    assert len(children) == 2
    worker.signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    assert idle.end() == []
    gate.open()
    answer = running.answer()
    assert (answer.body, answer.all("connection")) == (b"/hold", [])
    assert running.end() == []
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


@pools()
def test_a_worker_that_is_sent_sigterm_serves_until_its_successor_is_there(site, pool):
    worker = site.fork(hello, pool, drain_idle=LONG)
    client = site.connect()
    client.get("/1").answer()
    for _ in range(2):
        worker.signal(signal.SIGTERM)
    assert worker.message("recycle")["reason"] == "signal"
    assert client.get("/2").answer().all("connection") != ["close"]
    worker.tell("drain", deadline=20)
    wait_for(lambda: worker.slot.state is SlotState.DRAINING)
    assert client.get("/3").answer().all("connection") == ["close"]
    client.end()
    assert worker.wait() == 0


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for the signal (proc(5))."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) & (1 << number - 1))


@pools("epoll-1", "prefork")
def test_signals_are_the_pools_whatever_the_application_has_done_with_them(site, pool):
    """It runs on the main thread in these pools, where it may; as asyncio does, also with the wake-up descriptor."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/take":
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit("the application's own"))
        return hello(environ, start_response)

    worker = site.fork(application, pool, prepare=hurry)
    assert site.get("/take").status == 200
    wait_for(lambda: catches(worker.pid, signal.SIGINT))  # epoll-1 looks once a second
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGTERM)
    assert worker.message("recycle")["reason"] == "signal"
    assert site.get("/still").status == 200


@pools("epoll-1", "prefork")
def test_a_signal_is_heard_although_the_wakeup_descriptor_is_anothers(site, pool):
    """An event loop that had a handler for SIGUSR1 or SIGCHLD leaves it at -1 when it is closed, and ours in place."""

    def application(environ, start_response):
        signal.set_wakeup_fd(-1)
        return hello(environ, start_response)

    worker = site.fork(application, pool)
    assert site.get("/").status == 200
    worker.signal(signal.SIGTERM)
    assert worker.message("recycle")["reason"] == "signal"


def test_signals_are_the_pools_also_when_another_thread_has_the_loop(site):
    gate = site.gate()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/take":  # the first request, on the main thread
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            gate.wait()  # until the loop is elsewhere
        return hello(environ, start_response)

    worker = site.fork(application, "epoll-8")
    client = site.connect().get("/take")
    assert site.get("/elsewhere").status == 200
    gate.open()
    assert client.answer().status == 200
    wait_for(lambda: catches(worker.pid, signal.SIGTERM))
    worker.signal(signal.SIGTERM)
    assert worker.message("recycle")["reason"] == "signal"


@pools()
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_what_a_terminal_sends_to_all_is_the_masters_business(site, pool, number):
    worker = site.fork(hello, pool)
    client = site.connect()
    client.get("/1").answer()
    worker.signal(number)
    for _ in range(3):
        assert client.get("/2").answer().all("connection") == []
    assert worker.slot.state is SlotState.READY


@pools()
def test_reopen_goes_on_in_a_new_access_log(site, pool):
    path = site.directory / "access.log"
    worker = site.fork(hello, pool, access_log=str(path), access_log_format="%(r)s %(s)s")
    client = site.connect()
    client.get("/before").answer()
    wait_for(lambda: "GET /before HTTP/1.1 200" in path.read_text())
    path.rename(site.directory / "access.log.1")
    worker.tell("reopen")
    wait_for(path.exists)
    # In pool fork it is the connection's own process that has to learn of it.
    wait_for(lambda: client.get("/after").answer() and "GET /after HTTP/1.1 200" in path.read_text())


@pools()
def test_a_log_that_cannot_be_reopened_does_not_end_the_worker(site, pool):
    directory = site.directory / "logs"
    directory.mkdir()
    worker = site.fork(hello, pool, access_log=str(directory / "access.log"))
    site.get("/1")
    wait_for(lambda: "/1" in (directory / "access.log").read_text())
    (directory / "access.log").rename(site.directory / "moved.log")
    directory.rmdir()
    worker.tell("reopen")
    gone = f"access.log cannot be opened again: there is no directory {directory}; the old one stays in use"
    wait_for(lambda: gone in worker.log())
    assert site.get("/2").status == 200
    wait_for(lambda: "/2" in (site.directory / "moved.log").read_text())


@pools()
def test_the_log_level_can_be_changed(site, pool):
    def talkative(environ, start_response):
        environ["wsgi.errors"].write("said at level error\n")
        return hello(environ, start_response)

    worker = site.fork(talkative, pool, log_level="error")
    garbage = b"nonsense\r\n\r\n"
    site.connect().send(garbage).end()
    worker.tell("log-level", level="warning")
    # Orders and requests come by different ways: ask until the order has been read.
    wait_for(lambda: site.connect().send(garbage).end() and "refused a request with 400" in worker.log())
