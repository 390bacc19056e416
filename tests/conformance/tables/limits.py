"""Limits: 414, 431, 413, each as soon as it can be known (RFC 9110 section 15.5; RFC 6585 section 5).

The small profile has these: a request line of 100 bytes, a field of 200, all fields together of 600, 10 fields, a body
of 1,000.
"""

from __future__ import annotations

from dataclasses import replace

from ..case import (
    END_CHUNK,
    Case,
    Stage,
    at_once,
    chunk,
    chunked,
    get,
    get10,
    last,
    post,
    refused,
    request,
    scripted,
    served,
    unfinished,
)
from ..exchange import Answers, Send

TEN_CHUNKS = (chunk(b"z" * 100),) * 10
WAITS = b"Expect: 100-continue"


def small(*cases: Case) -> list[Case]:
    """The same cases for the small profile."""
    return [replace(case, name=f"{case.name} (small)", profile="small") for case in cases]


def target(size: int) -> bytes:
    return get(b"/" + b"p" * size)


def field(size: int) -> bytes:
    return get(b"/", b"X-A: " + b"v" * size)


def fields(count: int) -> bytes:
    return get(b"/", *(b"X-%d: v" % n for n in range(count)))


def large_fields(count: int, size: int, *more: bytes) -> bytes:
    return get(b"/", *(b"X-%d: " % n + b"v" * size for n in range(count)), *more)


GROUPS = {
    "RFC 9110 section 15.5.14 413 Content Too Large": [
        refused("body of 200 MB announced", get(b"/", b"Content-Length: 200000000", method=b"POST"), 413),
        at_once("body of 200 MB announced, its start sent", get(b"/", b"Content-Length: 200000000") + b"z" * 1000, 413),
        at_once("body of 200 MB, 100-continue", get(b"/", b"Content-Length: 200000000", WAITS), 413),
        *small(
            served("body at the limit", post(b"z" * 1000), received=b"z" * 1000),
            served("bodies do not add up", post(b"z" * 900) + post(b"z" * 900), 200, 200,
                   each=({"body": b"z" * 900},) * 2),
            refused("body beyond the limit", post(b"z" * 1001), 413),
            refused("body beyond the limit: the application is not called", post(b"z" * 1001, target=b"/?t=@TOKEN@"),
                    413, events=()),
            at_once("body beyond the limit, announced only", get(b"/", b"Content-Length: 1001"), 413),
            at_once("body beyond the limit, 100-continue", get(b"/", b"Content-Length: 1001", WAITS), 413),
            refused("body far beyond the limit, all of it sent", post(b"z" * 500_000), 413),
            served("chunked body at the limit", chunked(*TEN_CHUNKS, END_CHUNK), received=b"z" * 1000),
            served("chunked bodies do not add up", chunked(chunk(b"z" * 900), END_CHUNK) * 2, 200, 200),
            refused("chunked body beyond the limit", chunked(*TEN_CHUNKS, b"1\r\nz\r\n", END_CHUNK), 413),
            refused("chunk beyond the limit", chunked(chunk(b"z" * 1001), END_CHUNK), 413),
            at_once("chunk beyond the limit, announced only", chunked(b"3e9\r\n"), 413),
            at_once("chunk of 4 GB announced", chunked(b"ffffffff\r\n"), 413),
        ),
    ],
    "RFC 9110 section 15.5.15 414 URI Too Long": [
        served("request line of 8,000 bytes", target(7980)),
        refused("request line of 9,000 bytes", target(8980), 414),
        refused("request line of 100,000 bytes", target(99_980), 414),
        refused("query of 9,000 bytes", get(b"/?" + b"q" * 9000), 414),
        refused("request line of 9,000 bytes in HTTP/1.0", get10(b"/" + b"p" * 9000), 414),
        refused("method of 9,000 bytes", get(method=b"M" * 9000), 414, otherwise=(501,)),
        at_once("request line without an end", b"GET /" + b"p" * 9000, 414),
        last("connection closed as asked after a large request", get(b"/" + b"p" * 7000, b"Connection: close")),
        *small(
            served("request line at the limit", target(86), environ={"PATH_INFO": "/" + "p" * 86}),
            refused("request line beyond the limit", target(87), 414),
            at_once("request line beyond the limit, without an end", b"GET /" + b"p" * 97, 414),
            at_once("method without an end", b"M" * 102, 414),
            refused("second request beyond the limit", get() + target(87), 200, 414),
            scripted("limits hold for the second request too", Send(get()), Answers(1), Send(target(87)),
                     statuses=(200, 414), closed=True),
        ),
    ],
    "RFC 6585 section 5 431 Request Header Fields Too Large": [
        served("field of 16,000 bytes", field(15_980)),
        refused("field of 17,000 bytes", field(17_000), 431),
        refused("field name of 17,000 bytes", get(b"/", b"X" * 17_000 + b": v"), 431),
        refused("field of 200,000 bytes", field(200_000), 431),
        at_once("field without an end", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"v" * 70_000, 431),
        served("95 fields", fields(94)),
        refused("150 fields", fields(150), 431),
        refused("150 fields of one name", get(b"/", *(b"X-A: v",) * 150), 431),
        refused("10,000 fields", fields(10_000), 431),
        refused("80 fields of 1,000 bytes", large_fields(80, 1000), 431),
        refused("Host of 17,000 bytes", request(b"GET / HTTP/1.1", b"Host: " + b"a" * 17_000), 431, otherwise=(400,)),
        *small(
            served("field at the limit", field(195), environ={"HTTP_X_A": "v" * 195}),
            refused("field beyond the limit", field(196), 431),
            refused("field name beyond the limit", get(b"/", b"X" * 201 + b": v"), 431),
            refused("last field beyond the limit", get(b"/", b"X-A: b", b"X-B:" + b"v" * 200), 431),
            at_once("field beyond the limit, without an end", field(197)[:-4], 431),
            at_once("field beyond the limit, the next begun", get(b"/", b"X-A: " + b"v" * 196, b"X")[:-4], 431),
            unfinished("field at the limit, in an unfinished head", field(195)[:-3], Stage.HEAD),
            served("fields at the limit together", large_fields(2, 190, b"X: " + b"v" * 192)),
            refused("fields beyond the limit together", large_fields(2, 190, b"X: " + b"v" * 193), 431),
            at_once("fields beyond the limit together, without an end", large_fields(4, 190)[:-2], 431),
            served("10 fields", fields(9), environ={"HTTP_X_8": "v"}),
            refused("11 fields", fields(10), 431),
            refused("11 fields, ten of a name", get(b"/", *(b"X-A: v",) * 10), 431),
            refused("11 fields, ten of them dropped", get(b"/", *(b"X_A: v",) * 10), 431),
            served("each request has its own limits", fields(9) + fields(9), 200, 200),
        ),
    ],
}  # fmt: skip
