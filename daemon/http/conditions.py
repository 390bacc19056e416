"""Conditional requests (RFC 9110 section 13): what preconditions make of a request, in the order of section 13.2.2.

Fields are keyed by their meta-variable names, as `head` gives them. A representation is known by its entity tag, as it
stands in ETag, and by the second of its last change; "" and None: it has none.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

# entity-tag = [ weak ] opaque-tag (RFC 9110 section 8.8.3)
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_TAGS = re.compile(rf"[ \t,]*(?:{_TAG.pattern}[ \t]*(?:,[ \t,]*|\Z))*")

# IMF-fixdate, and the two obsolete forms that a recipient has to understand (RFC 9110 section 5.6.7)
_DATES = (
    re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII),
    re.compile(r"[A-Z][a-z]{5,8}, (\d\d)-([A-Z][a-z]{2})-(\d\d) (\d\d):(\d\d):(\d\d) GMT", re.ASCII),
    re.compile(
        r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) "
        r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?P<year>\d{4})",
        re.ASCII,
    ),
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_CENTURY_TURNS = 70  # a year of two digits before it is of this century
_DATE_CHARS = 40
STRONG_SECONDS = 1  # a date older than that stands for one representation (RFC 9110 section 8.8.2.2)


class Verdict(Enum):
    """What a request's preconditions come to."""

    GO_ON = auto()
    NOT_MODIFIED = auto()  # 304
    FAILED = auto()  # 412


def verdict(fields: Mapping[str, Any], etag: str, modified: int | None) -> Verdict:
    """What the preconditions of a GET or HEAD say of its representation (RFC 9110 section 13.2.2)."""
    if (wanted := fields.get("HTTP_IF_MATCH")) is not None:
        if not _is_among(wanted, etag, weakly=False):
            return Verdict.FAILED
    elif (
        (text := fields.get("HTTP_IF_UNMODIFIED_SINCE")) is not None
        and modified is not None
        and (date := parse_date(text)) is not None
        and modified > date
    ):
        return Verdict.FAILED
    if (known := fields.get("HTTP_IF_NONE_MATCH")) is not None:
        return Verdict.NOT_MODIFIED if _is_among(known, etag, weakly=True) else Verdict.GO_ON
    if (
        (text := fields.get("HTTP_IF_MODIFIED_SINCE")) is not None
        and modified is not None
        and (date := parse_date(text)) is not None
        and modified <= date
    ):
        return Verdict.NOT_MODIFIED
    return Verdict.GO_ON


def range_applies(fields: Mapping[str, Any], etag: str, modified: int | None, now: float) -> bool:
    """Whether If-Range lets the request's Range count (RFC 9110 section 13.1.5); `now` in seconds since the epoch."""
    condition = fields.get("HTTP_IF_RANGE")
    if condition is None:
        return True
    if tag := _TAG.fullmatch(condition):
        return tag[0] == etag and not tag[1]
    return modified is not None and parse_date(condition) == modified and now - modified >= STRONG_SECONDS


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an HTTP-date (RFC 9110 section 5.6.7); None: it is none, and the field is ignored."""
    if len(text) > _DATE_CHARS:
        return None
    for form in _DATES:
        if found := form.fullmatch(text):
            parts = (
                found.group("day", "month", "year", "hour", "minute", "second") if form.groupindex else found.groups()
            )
            return _seconds(*parts)
    return None


def _seconds(day: str, month: str, year: str, hour: str, minute: str, second: str) -> int | None:
    number, full_year = _MONTHS.get(month), int(year)
    if len(year) == 2:
        full_year += 2000 if full_year < _CENTURY_TURNS else 1900
    if number is None or not full_year or not (1 <= int(day) <= calendar.monthrange(full_year, number)[1]):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return calendar.timegm((full_year, number, int(day), int(hour), int(minute), int(second)))


def _is_among(text: str, etag: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags, or "*", has this one (RFC 9110 section 8.8.3.2). A malformed list has none."""
    if text == "*":
        return True
    if not _TAGS.fullmatch(text):
        return False
    is_weak, own = etag.startswith("W/"), etag.removeprefix("W/")
    return any(tag == own and (weakly or not (weak or is_weak)) for weak, tag in _TAG.findall(text))
