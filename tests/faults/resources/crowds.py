"""Thousands of connections: idle ones, slow ones at each stage, and such as leave at each stage."""

from __future__ import annotations

from tests.support.sanitizer import KEEPS_FREED_MEMORY

from .clients import Crowd
from .stage import Impossible, Outcome, Stage, allow_many_files

SPARE_FILES = 2_000
DROP_SECONDS = 180.0  # for all of a crowd, one after another where a process has one at a time
HEAD = b"GET /slow-head HTTP/1.1\r\nHost: x\r\nX-Never"
BODY = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbeginning"
READING_BYTES = 16 << 20  # more than all socket buffers hold
READING = b"GET /big?bytes=%d HTTP/1.1\r\nHost: x\r\n\r\n" % READING_BYTES
ASK = b"GET /?token=crowd HTTP/1.1\r\nHost: x\r\n\r\n"
ASK_ONCE = ASK.replace(b"Host", b"Connection: close\r\nHost")
SLACK_BYTES = 24 << 20
RUNNING = b"GET /slow?ms=20 HTTP/1.1\r\nHost: x\r\n\r\n"


def _need_files(count: int) -> None:
    may = allow_many_files()
    if may < count + SPARE_FILES:
        raise Impossible(f"this process may open {may} files (ulimit -n)")


def ten_thousand_connections(stage: Stage) -> Outcome:
    """10,000 connections that ask, rest and ask again, while others are served (pool fork: 3,000 that ask once)"""
    count = stage.size(300, 3_000 if stage.pool == "fork" else 10_000)  # a process for each, there
    _need_files(count)
    stage.configure("backlog = 4096", "[timeouts]\nkeep_alive = 120\nhead = 60")
    daemon = stage.start()
    load = stage.load()
    memory = stage.worker_memory()
    # The others are for one connection at a time: it must end before the next is served.
    with Crowd(daemon, count, ASK if stage.threaded else ASK_ONCE) as crowd:
        crowd.listen(lambda: len(crowd.answers()) == count, "an answer to each")
        _check(crowd, count)
        if stage.threaded:
            assert not crowd.ended, crowd.ended
            stage.note(f"{(stage.worker_memory() - memory) / count / 1024:.1f} KiB a connection")
            load.wait_for_more(100)
            crowd.forget()
            crowd.send(ASK)
            crowd.listen(lambda: len(crowd.answers()) == count, "a second answer to each")
            _check(crowd, count)
    stage.lifted()
    stage.recovered()
    stage.outcome.requests += count * (2 if stage.threaded else 1)
    return stage.conclude()


def _check(crowd: Crowd, count: int) -> None:
    right = sum(status == 200 and body.endswith(b" crowd\n") for status, body in crowd.answers())
    assert right == count, f"{right} of {count} right answers: {crowd.answers()[:3]}"


def slow_heads(stage: Stage) -> Outcome:
    """2,000 clients that never finish their head: others are served, each is answered 408 in its time"""
    return _slow(stage, HEAD, {"408"})


def slow_bodies(stage: Stage) -> Outcome:
    """2,000 clients that never finish their body: others are served, each is answered 408 in its time"""
    return _slow(stage, BODY, {"408"})


def slow_readers(stage: Stage) -> Outcome:
    """2,000 clients that do not read their response: others are served, each is dropped in its time"""
    # A process that serves one client at a time waits for each of them.
    count = {"prefork": 10, "fork": stage.size(40, 400)}.get(stage.pool, stage.size(40, 2_000))
    return _slow(stage, READING, {"200"}, count, receive_bytes=4096)


def _slow(stage: Stage, sent: bytes, ends: set[str], count: int = 0, receive_bytes: int = 0) -> Outcome:
    count = count or stage.size(200, 500 if stage.pool == "fork" else 2_000)  # 128 at a time there, each for a second
    _need_files(count)
    stage.configure("backlog = 4096", "[timeouts]\nhead = 1\nbody = 1\nsend = 1\n")
    daemon = stage.start()
    load = stage.load()
    grown = []
    for wave in range(2):
        with Crowd(daemon, count, sent, receive_bytes=receive_bytes) as crowd:
            load.wait_for_more(50)
            if receive_bytes:  # only who reads sees the end
                daemon.wait(lambda due=(wave + 1) * count: _timed_out(stage) >= due, "all are dropped", DROP_SECONDS)
            crowd.listen(lambda: crowd.open == 0, "all are closed")
            stage.lifted()
            assert max(crowd.received.values()) < READING_BYTES, "the whole response"
            assert set(crowd.ended) <= ends | {"reset"}, crowd.ended
            assert sum(crowd.ended[end] for end in ends) >= count * 9 // 10, crowd.ended
        load.wait_for_more(20)
        grown.append(stage.worker_memory())
    if stage.pool != "fork" and not KEEPS_FREED_MEMORY:  # whose processes come and go
        assert grown[1] <= grown[0] * 1.1 + SLACK_BYTES, grown
    stage.note(f"2 × {count}: {', '.join(f'{number} {end}' for end, number in crowd.ended.items())}")
    stage.recovered()
    return stage.conclude()


def _timed_out(stage: Stage) -> int:
    """How many connections the daemon has closed because of their timeouts."""
    with stage.control() as control:
        (family,) = control.get("/metrics?name=miniwsgi_connections_closed_total")["families"]
    return int(sum(one["value"] for one in family["samples"] if one["labels"]["reason"] == "timeout"))


STAGES = {
    "before a byte": b"",
    "in the head": HEAD,
    "in the body": BODY,
    "in a big body": b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + bytes(100_000),
    "while the application runs": RUNNING,
    "behind another request": RUNNING + ASK,
    "while the response is written": READING,
    "when kept alive": ASK,
    "with a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
}


def resets_at_every_stage(stage: Stage) -> Outcome:
    """Clients that leave by RST, thousands at each of nine stages: nobody else notices"""
    at_once = 50
    rounds = stage.size(1, 20 if stage.pool != "fork" else 6)
    stage.configure(rest="[timeouts]\nhead = 5\nbody = 5\nsend = 5")
    daemon = stage.start()
    load = stage.load()
    left = 0
    for sent in STAGES.values():
        for number in range(rounds):
            with Crowd(daemon, at_once, sent) as crowd:
                if number % 2:  # every other time some of them have got that far
                    load.wait_for_more(2)
                crowd.reset()
            left += at_once
        load.wait_for_more(5)
    stage.lifted()
    stage.note(f"{left:,} resets")
    stage.recovered()
    return stage.conclude()
