"""The live fuzzer's short form: some hundred inputs on a real daemon of each pool, and what it would notice."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conformance.client import Response
from tests.conformance.exchange import End, Outcome
from tests.support.effort import FULL, SEED, effort

from .inputs import Ending, Input, faults, make
from .live import POOLS, Pool, fuzz, serving

INPUTS = {"epoll-1": (700, 60_000), "epoll-adaptive": (500, 40_000), "prefork": (240, 10_000), "fork": (64, 2_000)}
# Bytes an input, of all workers; only a long run can tell: the bounded tables of each process fill in the beginning.
GROWTH_BYTES = {"epoll-1": 150, "epoll-adaptive": 300, "prefork": 800, "fork": 800}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
def test_nothing_is_found(pool: Pool) -> None:
    count = effort(*INPUTS[pool.name])
    report = fuzz(pool, SEED, inputs=count)
    assert not report.faults, "\n".join(map(str, report.faults))
    assert report.inputs == count
    assert report.answers[200] > count // 10
    assert report.answers[400] > count // 10
    if FULL:
        assert report.slope < GROWTH_BYTES[pool.name]


def test_the_same_seed_makes_the_same_input() -> None:
    assert make(3, 14) == make(3, 14)
    assert make(3, 14) != make(4, 14)
    assert len({make(3, number).data for number in range(200)}) > 150


# --- the judge ---

FIRST, SECOND = "z000101", "z000102"  # both are answered in the plain way
STREAM = b"".join(
    b"GET /%b HTTP/1.1\r\nHost: a\r\nX-Id: %b\r\n\r\n" % (b"p", name.encode()) for name in (FIRST, SECOND)
)


def answer(identity: str, target: str = "/p", body: str = "0 0", status: int = 200) -> Response:
    fields = [("X-Echo", identity), ("X-Target", target), ("X-Body", body)]
    return Response("HTTP/1.1", status, "OK", fields, complete=True)


def judged(*answers: Response, data: bytes = STREAM, end: End = End.FIN, violation: str = "") -> list[str]:
    sent = Input(1, data, (data,), frozenset(), Ending.HALF_CLOSE, 1)
    return faults(sent, Outcome(list(answers), violation, end, 0.0))


def test_right_answers_are_right() -> None:
    assert judged(answer(FIRST), answer(SECOND)) == []


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ((answer(SECOND), answer(FIRST)), "X-Echo"),
        ((answer(FIRST), answer("z0zz901")), "somebody else"),
        ((answer(FIRST),), "1 answers instead of 2"),
        ((answer(FIRST), answer(SECOND), answer(SECOND)), "to nothing"),
        ((answer(FIRST), answer(SECOND, target="/q")), "X-Target"),
        ((answer(FIRST), answer(SECOND, body="1 9")), "X-Body"),
        ((answer(FIRST), Response("HTTP/1.1", 400, "Bad Request", [], complete=True)), "X-Echo"),
    ],
)
def test_a_wrong_answer_is_a_fault(answers: tuple[Response, ...], what: str) -> None:
    assert any(what in fault for fault in judged(*answers))


def test_a_request_cut_off_is_refused_and_a_refused_one_not_run() -> None:
    cut = STREAM[:-2]
    assert judged(answer(FIRST), Response("HTTP/1.1", 400, "Bad Request", [], complete=True), data=cut) == []
    assert judged(answer(FIRST), answer(SECOND), data=cut)
    assert judged(answer(FIRST), Response("HTTP/1.1", 501, "Not Implemented", [], complete=True), data=cut)


def test_a_hang_a_reset_and_junk_are_faults() -> None:
    assert judged(answer(FIRST), answer(SECOND), end=End.DEADLINE)
    assert judged(answer(FIRST), answer(SECOND), end=End.RESET)
    assert judged(answer(FIRST), answer(SECOND), violation="bytes behind a response")


def test_a_dead_worker_and_a_leak_are_seen() -> None:
    with serving(POOLS[0]) as session:
        observation = session.observation
        assert session.harm() == []
        assert session.leaks() == []
        observation.descriptors = {pid: count - 1 for pid, count in observation.descriptors.items()}
        assert observation.leaks()
        (worker,) = session.daemon.workers()
        os.kill(worker, signal.SIGKILL)
        session.daemon.wait(lambda: session.daemon.workers() not in ([], [worker]), "a successor")
        session.daemon.wait(session.observation.deaths, "the death is told")
