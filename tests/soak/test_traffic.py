"""The client of the soak believes nothing: each way in which a server can be wrong is a failure of its own kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.load import Failure

from .traffic import KINDS, Traffic

Reply = Callable[[bytes], tuple[bytes, bool]]  # of a request's head: what is sent, whether the connection ends


def right(head: bytes) -> bytes:
    """What the application would answer to a page."""
    token = head.split(b"token=")[1].split()[0]
    body = b"v1 77 %b\n" % token
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@contextmanager
def server(reply: Reply) -> Iterator[tuple[str, int]]:
    """One that answers as it is told, in a thread."""
    loop = asyncio.new_event_loop()
    address: list[tuple[str, int]] = []
    listening = threading.Event()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                data, ends = reply(await reader.readuntil(b"\r\n\r\n"))
                writer.write(data)
                await writer.drain()
                if ends:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        address.append(listener.sockets[0].getsockname()[:2])
        listening.set()
        await over.wait()
        listener.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    listening.wait()
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def visits(kind: str, reply: Reply, times: int = 3) -> Traffic:
    """What a visitor of a kind makes of such a server."""
    with server(reply) as address:
        traffic = Traffic(address, rate=1000)
        visitor = next(visitor for visitor in traffic._visitors if visitor.kind.name == kind)

        async def come() -> None:
            for _ in range(times):
                await traffic.visit(visitor)
            traffic.leave(visitor)

        asyncio.run(come())
    return traffic


def kinds(traffic: Traffic) -> list[str]:
    return [lost.kind for lost in traffic.tally.lost]


def test_a_server_that_is_right_loses_nothing() -> None:
    tally = visits("page", lambda head: (right(head), False)).tally
    assert (tally.failures, tally.methods["GET"], tally.versions) == (0, 3, {"v1": 3})


def test_pipelined_pages_are_counted_one_by_one() -> None:
    tally = visits("pipelined", lambda head: (right(head), False)).tally
    assert not tally.failures
    assert tally.methods["GET"] >= 6


def test_an_announced_close_between_pipelined_pages_is_no_failure() -> None:
    def reply(head: bytes) -> tuple[bytes, bool]:
        return right(head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), True

    tally = visits("pipelined", reply).tally
    assert (tally.failures, tally.methods["GET"]) == (0, 3)


WRONG: dict[str, tuple[Reply, Failure]] = {
    "another's answer": (lambda head: (right(head.replace(b"token=", b"token=x")), False), Failure.BODY),
    "a word too many": (lambda head: (right(head).replace(b"v1 ", b"v1 v1 "), False), Failure.BODY),
    "a status": (lambda _: (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", False), Failure.STATUS),
    "no answer": (lambda _: (b"", True), Failure.CLOSED),
    "half a head": (lambda head: (right(head)[:20], True), Failure.TRUNCATED),
    "half a body": (lambda head: (right(head)[:-3], True), Failure.TRUNCATED),
    "no length": (lambda _: (b"HTTP/1.1 200 OK\r\n\r\nv1 77 x\n", True), Failure.BODY),
    "nonsense": (lambda _: (b"nonsense\r\n\r\n", True), Failure.BODY),
    "a chunk's size": (
        lambda _: (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nv1 77 x\r\n0\r\n\r\n", True),
        Failure.BODY,
    ),
    "an end within chunks": (
        lambda _: (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nv1 \r\n", True),
        Failure.TRUNCATED,
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_a_failure(what: str) -> None:
    reply, failure = WRONG[what]
    traffic = visits("page", reply)
    assert kinds(traffic) == [failure.value] * 3
    assert not traffic.tally.methods["GET"]


def test_a_digest_of_another_body_is_a_failure() -> None:
    body = b"v1 77 5:0123\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert kinds(visits("post", lambda _: (answer, True), times=1)) == [Failure.BODY.value]


def test_a_stream_that_misses_its_end_is_a_failure() -> None:
    traffic = visits("stream", lambda head: (right(head), False), times=4)
    assert set(kinds(traffic)) <= {Failure.BODY.value}
    assert traffic.tally.failures >= 3, "only a stream without lines is whole"


def test_nobody_listens() -> None:
    with server(lambda head: (right(head), False)) as address:
        pass
    traffic = Traffic(address, rate=1000)
    asyncio.run(traffic.visit(traffic._visitors[0]))
    assert kinds(traffic) == [Failure.REFUSED.value]


def test_the_shares_make_up_the_rate() -> None:
    traffic = Traffic(("127.0.0.1", 1), rate=80)
    assert sum(kind.share for kind in KINDS) == pytest.approx(1.0)
    assert sum(1 / visitor.pause for visitor in traffic._visitors if visitor.pause) == pytest.approx(80)
