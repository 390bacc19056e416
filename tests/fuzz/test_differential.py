"""Our parser beside llhttp, h11 and http.server: what differs is listed, with the paragraph that makes it right."""

from __future__ import annotations

import re

import pytest

from tests.support.effort import SEED, effort

from .differences import DIFFERENCES, Difference, Kind, listed
from .differential import LIBRARIES, difference, installed, smaller, streams, survey
from .peers import ours


@pytest.mark.parametrize("peer", LIBRARIES)
def test_a_plain_request_is_read_alike(peer: str) -> None:
    if peer not in installed():
        pytest.skip(f"{LIBRARIES[peer]} is not installed")
    data = b"GET /a?b=c HTTP/1.1\r\nHost: d\r\nX-E: f\r\n\r\n"
    assert difference(peer, data) is None
    assert [message.target for message in ours(data).messages] == ["/a?b=c"]


def test_what_differs_is_listed() -> None:
    if len(installed()) == 1:
        pytest.skip("neither httptools nor h11 is installed")
    count, seen, unlisted = survey(streams(SEED, effort(2500, 100_000)))
    assert count > 2500
    assert not unlisted, "\n".join(f"{found}\n{smaller(data, found)!r}" for data, found in unlisted.values())
    assert len(seen) > len(DIFFERENCES) // 2


def test_every_row_names_a_paragraph() -> None:
    for row in DIFFERENCES:
        assert re.fullmatch(r"RFC \d{4} [0-9A-Z](.*)", row.source), row


def test_what_is_not_listed_is_found() -> None:
    assert listed(Difference("h11", Kind.FRAMED, "anything")) is None
    assert listed(Difference("llhttp", Kind.IT_REFUSES, "Invalid char in url path")) is None
