"""Conditional requests, ranges and content codings, in the order of RFC 9110 sections 12.5.3, 13 and 14."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.daemon.http.conditions import Verdict, parse_date, range_applies, verdict
from miniwsgi.daemon.http.content_codings import preferred
from miniwsgi.daemon.http.ranges import Unsatisfiable, single_range
from miniwsgi.daemon.http.response import http_date

ETAG = '"a-1"'
CHANGED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples
DATE, BEFORE, AFTER = (http_date(CHANGED + seconds) for seconds in (0, -1, 1))
GO_ON, NOT_MODIFIED, FAILED = Verdict.GO_ON, Verdict.NOT_MODIFIED, Verdict.FAILED


def fields(**given: str) -> dict[str, Any]:
    return {f"HTTP_{name.upper()}": value for name, value in given.items()}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, GO_ON),
        # 13.1.1 If-Match: strong comparison
        ({"if_match": ETAG}, GO_ON),
        ({"if_match": "*"}, GO_ON),
        ({"if_match": f'"x", {ETAG}'}, GO_ON),
        ({"if_match": '"x"'}, FAILED),
        ({"if_match": f"W/{ETAG}"}, FAILED),
        ({"if_match": "a-1"}, FAILED),  # malformed: nothing in it is a tag
        # 13.1.2 If-None-Match: weak comparison
        ({"if_none_match": ETAG}, NOT_MODIFIED),
        ({"if_none_match": f"W/{ETAG}"}, NOT_MODIFIED),
        ({"if_none_match": "*"}, NOT_MODIFIED),
        ({"if_none_match": f'"x" , ,{ETAG}'}, NOT_MODIFIED),
        ({"if_none_match": '"x"'}, GO_ON),
        ({"if_none_match": '"a-1'}, GO_ON),
        ({"if_none_match": f"{ETAG}{ETAG}"}, GO_ON),
        # 13.1.3 If-Modified-Since
        ({"if_modified_since": DATE}, NOT_MODIFIED),
        ({"if_modified_since": AFTER}, NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, GO_ON),
        ({"if_modified_since": "yesterday"}, GO_ON),
        # 13.1.4 If-Unmodified-Since
        ({"if_unmodified_since": DATE}, GO_ON),
        ({"if_unmodified_since": BEFORE}, FAILED),
        ({"if_unmodified_since": "0"}, GO_ON),
        # 13.2.2 precedence
        ({"if_match": ETAG, "if_unmodified_since": BEFORE}, GO_ON),
        ({"if_match": '"x"', "if_none_match": ETAG}, FAILED),
        ({"if_match": ETAG, "if_none_match": ETAG}, NOT_MODIFIED),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, GO_ON),
        ({"if_unmodified_since": BEFORE, "if_none_match": ETAG}, FAILED),
    ],
)
def test_preconditions(asked: dict[str, str], said: Verdict) -> None:
    assert verdict(fields(**asked), ETAG, CHANGED) is said


def test_a_date_counts_for_nothing_where_there_is_none() -> None:
    for name in ("if_modified_since", "if_unmodified_since"):
        assert verdict(fields(**{name: DATE}), ETAG, None) is GO_ON


def test_a_weak_tag_of_ones_own_is_never_compared_strongly() -> None:
    weak = f"W/{ETAG}"
    assert verdict(fields(if_none_match=ETAG), weak, CHANGED) is NOT_MODIFIED
    assert verdict(fields(if_match=weak), weak, CHANGED) is FAILED
    assert not range_applies(fields(if_range=weak), weak, CHANGED, CHANGED + 9)


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        (ETAG, True), ('"x"', False), (f"W/{ETAG}", False), (f"{ETAG}, {ETAG}", False),
        (DATE, True), (BEFORE, False), (AFTER, False), ("x", False), ("", False),
    ],
)  # fmt: skip
def test_if_range(condition: str, applies: bool) -> None:
    """RFC 9110 section 13.1.5."""
    assert range_applies(fields(if_range=condition), ETAG, CHANGED, CHANGED + 9) is applies


def test_a_date_of_this_very_second_stands_for_no_representation() -> None:
    """RFC 9110 section 8.8.2.2."""
    assert not range_applies(fields(if_range=DATE), ETAG, CHANGED, CHANGED + 0.5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (DATE, CHANGED),
        ("Sunday, 06-Nov-94 08:49:37 GMT", CHANGED),
        ("Sun Nov  6 08:49:37 1994", CHANGED),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2000 23:59:60 GMT", 951868800),
        ("Mon, 29 Feb 2001 00:00:00 GMT", None),
        ("Fri, 31 Dec 0000 00:00:00 GMT", None),  # no year
        ("Sun Dec 31 00:00:00 0000", None),
        ("Sun, 06 Nov 1994 08:49:37", None),
        ("Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 00 Nov 1994 08:49:37 GMT", None),
        ("Sun, \u0660\u0666 Nov 1994 08:49:37 GMT", None),
        ("", None),
        ("x" * 10000, None),
    ],
)
def test_dates(text: str, seconds: int | None) -> None:
    """RFC 9110 section 5.6.7: the fixed form, and two obsolete ones."""
    assert parse_date(text) == seconds


@given(st.integers(0, 4102444800))
def test_each_second_is_read_as_it_is_written(second: int) -> None:
    assert parse_date(http_date(second)) == second


@pytest.mark.parametrize(
    ("text", "size", "part"),
    [
        ("bytes=0-499", 1000, (0, 500)),
        ("bytes=500-999", 1000, (500, 1000)),
        ("bytes=999-", 1000, (999, 1000)),
        ("bytes=-500", 1000, (500, 1000)),
        ("bytes=-5000", 1000, (0, 1000)),
        ("bytes=0-99999", 1000, (0, 1000)),
        ("BYTES=0-0", 1000, (0, 1)),
        ("bytes= ,0-0, ", 1000, (0, 1)),
        (f"bytes=0-{'9' * 5000}", 1000, (0, 1000)),
        (f"bytes={'0' * 5000}1-1", 1000, (1, 2)),
        ("bytes=0-0,5-5", 1000, None),  # several
        ("bytes=5-4", 1000, None),  # invalid
        ("bytes=", 1000, None),
        ("bytes=-", 1000, None),
        ("bytes=a-b", 1000, None),
        ("bytes=0x1-2", 1000, None),
        ("bytes=+1-2", 1000, None),
        ("bytes=--1", 1000, None),
        ("bytes=1 - 2", 1000, None),
        ("bytes 0-1", 1000, None),
        ("items=0-1", 1000, None),  # another unit
        ("bytes=0-0, bytes=1-1", 1000, None),
        ("bytes=\u0660-\u0661", 1000, None),
        ("bytes=0-", 0, None),
        ("bytes=-1", 0, None),
    ],
)
def test_ranges(text: str, size: int, part: tuple[int, int] | None) -> None:
    """RFC 9110 section 14.1.2."""
    assert single_range(text, size) == part


@pytest.mark.parametrize("text", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", f"bytes={'9' * 5000}-"])
def test_ranges_of_no_byte(text: str) -> None:
    with pytest.raises(Unsatisfiable):
        single_range(text, 1000)


@given(st.integers(0, 2000) | st.none(), st.integers(0, 2000) | st.none(), st.integers(1, 1000))
def test_a_range_is_what_python_slices(first: int | None, last: int | None, size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    try:
        part = single_range(text, size)
    except Unsatisfiable:
        assert (first is None and last == 0) or (first is not None and first >= size)
        return
    if part is None:
        assert first is None is last or (first is not None and last is not None and last < first)
        return
    start, stop = part
    assert 0 <= start < stop <= size
    wanted = data[-(last or 0) :] if first is None else data[first : None if last is None else last + 1]
    assert data[start:stop] == wanted


@given(st.text(st.sampled_from("bytes=0123456789-, \t;x"), max_size=20), st.integers(0, 30))
def test_whatever_a_range_says_its_bytes_are_there(text: str, size: int) -> None:
    try:
        part = single_range(text, size)
    except Unsatisfiable:
        assert re.search(r"\d", text)
        return
    assert part is None or 0 <= part[0] < part[1] <= size


OFFERED = ("br", "zstd", "gzip")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("*;q=0", "identity"),
        ("gzip;q=1.0, *;q=0.5", "gzip"),
        ("br;q=0, *", "zstd"),
        ("br;q=0.1, gzip;q=0.9", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000", "identity"),
        ("gzip ; Q=0.3", "gzip"),
        ("gzip;q=2, br;q=x", "identity"),  # malformed members say nothing
        ("identity;q=0", "identity"),  # RFC 9110 section 12.5.3: better than none
        ("deflate, compress", "identity"),
    ],
)
def test_content_codings(accepted: str | None, coding: str) -> None:
    """RFC 9110 section 12.5.3."""
    assert preferred(accepted, OFFERED) == coding
    assert preferred(accepted, ()) == "identity"
