"""What each pool counts for the metrics: why connections close, sizes of bodies, routes, refusals, log entries."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.scoreboard import Closed

from tests.support.waiting import wait_for

from .worker_harness import Client, Site, Worker, pools
from .worker_pace import BRIEF_SECONDS, hurry

LIMIT = 0.25
BIG_BYTES = 12 * 1024 * 1024


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/route":
        environ["miniwsgi.route"] = "/r/<id>"
    elif path == "/bad-route":
        environ["miniwsgi.route"] = ["no", "text"]
    elif path == "/say":
        print("on standard error", file=environ["wsgi.errors"], flush=True)
    elif path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/cut":
        start_response("200 OK", [("Content-Length", "100")])
        return iter([b"not a hundred"])
    elif path == "/big":
        start_response("200 OK", [])
        return [bytes(BIG_BYTES)]
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"x" * int(environ["QUERY_STRING"] or 0) or body]


def closed(worker: Worker) -> dict[str, int]:
    return {
        reason.name.lower(): worker.cells[sb.CLOSED_BY + reason]
        for reason in Closed
        if worker.cells[sb.CLOSED_BY + reason]
    }


def leave(client: Client) -> None:
    client.get("/").answer()
    client.close()


def ask_for_the_last(client: Client) -> None:
    client.get("/", "Connection: close").end()


def say_nonsense(client: Client) -> None:
    client.send(b"nonsense\r\n\r\n").end()


def stop_in_the_head(client: Client) -> None:
    client.send(b"GET / HT").end()


def fall_silent(client: Client) -> None:
    client.get("/").answer()
    client.end()


def never_begin(client: Client) -> None:
    client.end()


def not_read(client: Client) -> None:
    client.get("/big")
    # Not a byte is taken: the server gives up, and only then does the client look.


def be_cut_off(client: Client) -> None:
    client.get("/cut").end()


Way = Callable[[Client], None]
# What a client does, the reason that is counted, and the time limit that is short.
WAYS: list[tuple[Way, str, str]] = [
    (leave, "client", ""),
    (ask_for_the_last, "client", ""),
    (say_nonsense, "refused", ""),
    (stop_in_the_head, "timeout", "head_timeout"),
    (fall_silent, "idle", "keep_alive_timeout"),
    (never_begin, "timeout", "head_timeout"),
    (not_read, "timeout", "send_timeout"),
    (be_cut_off, "aborted", ""),
]


@pools()
@pytest.mark.parametrize(("way", "reason", "short"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_each_connection_is_counted_under_why_it_was_closed(
    site: Site, pool: str, way: Way, reason: str, short: str
) -> None:
    worker = site.fork(application, pool, prepare=hurry, **({short: BRIEF_SECONDS} if short else {}))
    way(site.connect(receive_bytes=4096 if way is not_read else 0))
    wait_for(lambda: worker.cells[sb.CLOSED] == 1, f"it is closed: {closed(worker)}")
    wait_for(lambda: closed(worker) == {reason: 1}, f"{reason}: {closed(worker)}", 5)
    aborted = (worker.cells[sb.ABORTED], worker.cells[sb.SEND_TIMEOUTS], worker.cells[sb.CLIENTS_LEFT])
    if way is not_read:
        assert aborted == (1, 1, 0)
    elif way is be_cut_off:
        assert aborted == (1, 0, 1)
    else:
        assert aborted == (0, 0, 0)


@pools()
def test_a_drained_worker_has_closed_its_connections_itself(site: Site, pool: str) -> None:
    worker = site.fork(application, pool, prepare=hurry, drain_idle=LIMIT)
    client = site.connect()
    client.get("/").answer()
    worker.tell("drain", deadline=20)
    assert worker.wait() == 0
    assert closed(worker) == {"server": 1}


@pools()
def test_connections_that_end_with_their_worker_are_counted_once_it_is_gone(site: Site, pool: str) -> None:
    worker = site.fork(application, pool)
    site.connect().get("/").answer()
    wait_for(lambda: worker.cells[sb.ACCEPTED] == 1)  # pool fork counts for its processes
    worker.signal(9)
    worker.wait()
    worker.slot.vacate()
    assert closed(worker) == {"worker_exit": 1}


@pools()
def test_sizes_of_bodies(site: Site, pool: str) -> None:
    worker = site.fork(application, pool)
    client = site.connect()
    for size in (0, 1, 256, 257, 5000):
        client.get(f"/?{size}").answer()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n" + bytes(300)).answer()
    client.close()
    wait_for(lambda: worker.cells[sb.CLOSED] == 1)
    cells = worker.cells
    assert list(cells[sb.RESPONSE_SIZES : sb.RESPONSE_SIZES + 4]) == [3, 2, 0, 1]
    assert list(cells[sb.REQUEST_SIZES : sb.REQUEST_SIZES + 4]) == [0, 1, 0, 0]
    assert (cells[sb.BYTES_OUT], cells[sb.BYTES_IN]) == (1 + 256 + 257 + 5000 + 300, 300)


@pools()
def test_routes_that_the_application_names(site: Site, pool: str) -> None:
    worker = site.fork(application, pool)
    client = site.connect()
    for path in ("/route", "/route", "/bad-route", "/plain"):
        client.get(path).answer()
    client.close()
    wait_for(lambda: worker.cells[sb.CLOSED] == 1)
    assert worker.slot.route_names() == ["/r/<id>"]
    series = {}
    for number in range(2):
        at = sb.SERIES_AT + number * sb.SERIES_CELLS
        series[sb.series_labels(worker.cells[at])] = sum(worker.cells[at + sb.S_BUCKETS : at + sb.SERIES_CELLS])
    assert series == {("GET", 200, 1): 2, ("GET", 200, sb.NO_ROUTE): 2}
    wait_for(lambda: "miniwsgi.route is a list, not a str" in worker.log())


@pools()
def test_refusals_by_status_and_entries_by_level(site: Site, pool: str) -> None:
    worker = site.fork(application, pool, prepare=hurry)
    for line in (b"nonsense\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        site.connect().send(line).end()
    leave(site.connect())
    wait_for(lambda: worker.cells[sb.CLOSED] == 4)
    wait_for(lambda: worker.cells[sb.LOGGED + sb.LOG_LEVELS.index("warning")] == 3)
    by_status = worker.cells[sb.REJECTED_BY : sb.REJECTED_BY + len(sb.REJECTED_STATUSES) + 1].tolist()
    statuses = dict(zip((*sb.REJECTED_STATUSES, "others"), by_status, strict=True))
    assert {status: count for status, count in statuses.items() if count} == {400: 2, 505: 1}
    assert worker.cells[sb.REJECTED] == 3


def test_entries_of_a_process_that_serves_on_and_of_the_one_that_buries_it(site: Site) -> None:
    worker = site.fork(application, "fork", prepare=hurry)
    said, errors = (sb.LOGGED + sb.LOG_LEVELS.index(level) for level in ("info", "error"))
    client = site.connect()
    client.get("/say").answer()
    wait_for(lambda: worker.cells[said] == 1)
    client.get("/die").end()
    wait_for(lambda: worker.cells[errors] == 1)
    assert "the process of a connection was ended by SIGKILL" in worker.log()


def test_a_process_that_a_real_time_signal_has_ended_is_buried_as_any_other(site: Site) -> None:
    def ended(environ, start_response):
        if environ["PATH_INFO"] == "/die":
            os.kill(os.getpid(), signal.SIGRTMIN + 1)
        return application(environ, start_response)

    worker = site.fork(ended, "fork")
    site.connect().get("/die").end()
    told = f"the process of a connection was ended by signal {signal.SIGRTMIN + 1}"
    wait_for(lambda: told in worker.log())
    assert site.get("/").status == 200


def queued(worker: Worker) -> int:
    return sum(worker.cells[sb.QUEUE_BUCKETS : sb.QUEUE_BUCKETS + sb.BUCKETS])


@pools()
def test_every_request_has_waited_for_some_time_also_if_that_was_none(site: Site, pool: str) -> None:
    gate = site.gate()

    def holding(environ, start_response):
        if environ["PATH_INFO"] == "/hold":
            gate.wait()
        return application(environ, start_response)

    worker = site.fork(holding, pool)
    held = site.connect().get("/hold")
    if pool not in {"epoll-1", "prefork"}:  # another thread or process goes on meanwhile
        assert site.get("/").status == 200
    gate.open()
    assert held.answer().status == 200
    held.close()
    wait_for(lambda: worker.cells[sb.ACCEPTED] == worker.cells[sb.CLOSED])
    wait_for(lambda: queued(worker) == worker.cells[sb.REQUESTS] > 0)
