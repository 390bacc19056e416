"""Figures that several answers have: of the last minute, of a histogram."""

from __future__ import annotations

from msgspec import field

from .base import ResponseBody


class Rates(ResponseBody):
    """Requests a second over the last seconds; null until the daemon is so old."""

    last_1s: float | None
    last_10s: float | None
    last_60s: float | None


class LastMinute(ResponseBody):
    """Answers of about the last minute, and which share of them was an error, 0 to 1; null without any."""

    answers: int
    client_errors: float | None = field(name="4xx")
    server_errors: float | None = field(name="5xx")


class Percentiles(ResponseBody):
    """Percentiles of a histogram in words, as far as it knows them: "≤ 5 s", "> 10 s" beyond its last bound, "–"."""

    p50: str
    p95: str
    p99: str


class Latency(ResponseBody):
    """Percentiles of a histogram of seconds: the bounds that so many do not exceed; null beyond the last one."""

    window_seconds: float  # how far back it looks
    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    shown: Percentiles  # the same in words
