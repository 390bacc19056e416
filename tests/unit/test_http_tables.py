"""The conformance tables, fed to the parser alone: whole, byte by byte, cut everywhere, behind and in front of others.

What is refused names its section, however it comes. Over sockets, to each pool: tests/conformance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.conformance.case import RAW_TARGET, Case, Stage, get, matches
from tests.conformance.engine_parser import parser_of
from tests.conformance.exchange import Answers, Finished, HalfClose, Send
from tests.conformance.parser import LARGE, SMALL, Outcome
from tests.conformance.tables import CASES
from tests.support.effort import effort

NEXT = get(b"/next")
EVERY_PLACE_BYTES = effort(100, 300)  # longer ones are cut at some places only
BYTEWISE_BYTES = 6000  # a longer one takes long byte by byte, and says no more than the cuts
KNOWN = {"body", "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "RAW_URI", "HTTP_HOST",
         "CONTENT_TYPE", "CONTENT_LENGTH"}  # fmt: skip
BYTES_ALONE = Send | Answers | Finished | HalfClose
PARSED = [case for case in CASES if case.parsing and all(isinstance(step, BYTES_ALONE) for step in case.script)]

Feed = Callable[..., Outcome]


def feeding(case: Case, engine: str) -> Feed:
    """The engine's parser with the limits of the case's profile, for a connection like the case's."""

    parse = parser_of(engine)

    def feed(pieces: Iterable[bytes], **options: bool) -> Outcome:
        return parse(pieces, SMALL if case.profile == "small" else LARGE, unix=case.unix, **options)

    return feed


def cuts(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The ways to cut a case: a label and the pieces."""
    yield "whole", [data]
    if len(data) <= BYTEWISE_BYTES:
        yield "byte by byte", [data[i : i + 1] for i in range(len(data))]
    places: Iterable[int] = range(1, len(data))
    if len(data) > EVERY_PLACE_BYTES:
        of_interest = {data.find(b"\r\n") + i for i in range(3)} | {data.find(b"\r\n\r\n") + i for i in range(5)}
        of_interest |= {len(data) - i for i in range(1, 8)} | set(range(1, len(data), max(1, len(data) // 20)))
        places = sorted(i for i in of_interest if 0 < i < len(data))
    for i in places:
        yield f"split at {i}", [data[:i], data[i:]]


@pytest.mark.parametrize("case", PARSED, ids=str)
def test_a_case(case: Case, engine: str) -> None:
    feed = feeding(case, engine)
    for label, pieces in cuts(case.sent):
        compare(case, label, feed(pieces))
    compare(case, "answered when all is here", feed([case.sent], late=True))
    compare(case, "on a connection in use", without_first(feed([NEXT, case.sent])))
    compare(case, "behind another request", without_first(feed([NEXT + case.sent])))
    if not case.alone:
        for label, behind in (("a request", NEXT), ("junk", b"\0"), ("a line", b"junk\r\n")):
            for pieces in ([case.sent + behind], [case.sent, behind]):
                look_behind(case, f"{label} behind it", feed(pieces), is_request=behind is NEXT)
    if case.stage is not None:
        compare_cut_off(case, feed([case.sent], ended=True))


def without_first(outcome: Outcome) -> Outcome:
    assert outcome.requests.pop(0).path == "/next"
    return outcome


def look_behind(case: Case, label: str, outcome: Outcome, *, is_request: bool) -> None:
    """What follows a case is judged as if it stood alone, or is not read at all."""
    if case.closed:
        compare(case, label, outcome)
    elif is_request:
        assert outcome.requests.pop().path == "/next", label
        compare(case, label, outcome)
    else:
        assert outcome.status == 400, label
        compare(case, label, Outcome(outcome.requests, Stage.IDLE))


def compare(case: Case, label: str, outcome: Outcome) -> None:
    requests = len(case.statuses) - case.refusal
    assert len(outcome.requests) == requests, f"{label}: {outcome}"
    if case.refusal:
        status = case.statuses[-1]
        assert outcome.refusal is not None, f"{label}: {outcome}"
        assert outcome.status == status, f"{label}: {outcome}"
        assert outcome.refusal.section == case.section, f"{label}: {outcome.refusal}"
        assert str(outcome.refusal).endswith(f"({case.section})")
    else:
        assert outcome.stage is (case.stage or (Stage.LAST if case.closed else Stage.IDLE)), f"{label}: {outcome}"
    for number, request in enumerate(outcome.requests):
        found = {**request.environ(), RAW_TARGET: request.target, "body": request.body}
        for name, expected in case.seen(number).items():
            if name in found or name in KNOWN or name.startswith("HTTP_"):
                assert matches(expected, found.get(name)), f"{label}: {name} is {found.get(name)!r}, not {expected!r}"


def compare_cut_off(case: Case, outcome: Outcome) -> None:
    """The client sends no more: what it had begun is refused, if it had begun something."""
    assert len(outcome.requests) == len(case.statuses)
    if case.stage is Stage.IDLE:
        assert outcome.refusal is None
    else:
        assert outcome.status == 400
        assert outcome.refusal is not None
        assert outcome.refusal.section == "RFC 9112 section 8"
