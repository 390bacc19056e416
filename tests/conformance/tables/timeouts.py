"""Slow and silent clients: 408 where something had arrived, a silent close where not (RFC 9110, section 15.5.9).

For the hasty profile, whose timeouts are all one second and whose minimum rate is 500 bytes a second.
"""

from __future__ import annotations

from typing import Any

from ..case import Case, chunk, chunked, get, post, scripted
from ..exchange import Answers, Deaf, Pause, Send, Step

SOON = (0.5, 20.0)  # the upper bound for a slow machine: what has no limit stays open for longer


def slow(name: str, *steps: Step, statuses: tuple[int, ...], **checks: Any) -> Case:
    checks = {"closed": True, "profile": "hasty", "seconds": SOON, **checks}
    return scripted(name, *steps, statuses=statuses, **checks)


def trickle(data: bytes, seconds: float, size: int = 1) -> list[Step]:
    """Pieces with a pause behind each."""
    steps: list[Step] = []
    for start in range(0, len(data), size):
        steps += Send(data[start : start + size]), Pause(seconds)
    return steps


GROUPS = {
    "RFC 9110 section 15.5.9 408 Request Timeout": [
        slow("nothing sent: closed without a word", statuses=()),
        slow("idle after an answer: closed without a word", Send(get()), Answers(1), statuses=(200,), announced=False),
        slow("idle after an error: closed without a word", Send(get(b"/raise")), Answers(1), statuses=(500,),
             announced=False),
        slow("half a request line", Send(b"GET / HT"), statuses=(408,)),
        slow("half a head", Send(get()[:-2]), statuses=(408,)),
        slow("half a head behind an answer", Send(get()), Answers(1), Send(get()[:-2]), statuses=(200, 408)),
        slow("half a head behind a pipelined request", Send(get() + get()[:-2]), statuses=(200, 408)),
        slow("a head that trickles", *trickle(get(b"/", b"X-A: " + b"v" * 100), 0.1), statuses=(408,)),
        slow("half a body: the application is not called", Send(post(b"z" * 1000, target=b"/?t=@TOKEN@")[:-500]),
             statuses=(408,), events=()),
        slow("no body", Send(post(b"z" * 1000)[:-1000]), statuses=(408,)),
        slow("half a chunk", Send(chunked(chunk(b"z" * 1000))[:-500]), statuses=(408,)),
        slow("no last chunk", Send(chunked(chunk(b"z" * 10))), statuses=(408,)),
        slow("a body that trickles", Send(post(b"z" * 1000)[:-1000]), *trickle(b"z" * 50, 0.1), statuses=(408,)),
        slow("no body behind 100 (Continue)", Send(get(b"/", b"Content-Length: 5", b"Expect: 100-continue")),
             Answers(1),
             statuses=(408,), interim=(100,)),
        slow("a body that is slow but not too slow", Send(post(b"z" * 4000)[:-4000]), *trickle(b"z" * 4000, 0.2, 400),
             statuses=(200,), closed=False, received=b"z" * 4000),
        slow("an application that is slow", Send(get(b"/sleep/1500")), statuses=(200,), closed=False, body=b"slept"),
        slow("a client that does not read", Send(get(b"/big/30000000")), Deaf(6), statuses=(200,), complete=False,
             abrupt=True, announced=False, seconds=(0.9, 30.0)),
        slow("a client that does not read a stream", Send(get(b"/endless?t=@TOKEN@")), Deaf(6), statuses=(200,),
             complete=False, abrupt=True, announced=False, seconds=(0.9, 30.0), events=("called", "closed")),
    ],
}  # fmt: skip
