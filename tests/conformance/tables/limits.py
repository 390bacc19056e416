"""Limits: 414, 431, 413, each as soon as it can be known (RFC 9110, section 15.5; RFC 6585, section 5).

The small profile has these: a request line of 1,000 bytes, a field of 2,000, all fields together of 5,000, 20
fields, a body of 10,000.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..case import Case, chunk, chunked, either, get, get10, last, post, refused, request, scripted, served
from ..exchange import Answers, Send

TOPIC = "limits"
HEAD_TOO_LARGE = either(431, 414)


def small(case: Case) -> Case:
    """The same case for the small profile."""
    return replace(case, name=f"{case.name} (small)", profile="small")


def target(size: int) -> bytes:
    return get(b"/" + b"p" * size)


def field(size: int) -> bytes:
    return get(b"/", b"X-A: " + b"v" * size)


def fields(count: int) -> bytes:
    return get(b"/", *(b"X-%d: v" % n for n in range(count)))


def unfinished(name: str, sent: bytes, status: int, **checks: Any) -> Case:
    """Refused although no more of it ever comes."""
    return scripted(name, Send(sent), statuses=(status,), closed=True, **checks)


PLAIN = [
    served("request line of 8,000 bytes", target(7980)),
    refused("request line of 9,000 bytes", target(8980), 414),
    refused("request line of 100,000 bytes", target(99_980), 414),
    refused("query of 9,000 bytes", get(b"/?" + b"q" * 9000), 414),
    refused("request line of 9,000 bytes in HTTP/1.0", get10(b"/" + b"p" * 9000), 414),
    refused("method of 9,000 bytes", get(method=b"M" * 9000), either(414, 501, 400)),
    unfinished("request line without an end", b"GET /" + b"p" * 9000, 414),
    served("field of 16,000 bytes", field(15_980)),
    refused("field of 17,000 bytes", field(17_000), 431),
    refused("field name of 17,000 bytes", get(b"/", b"X" * 17_000 + b": v"), 431),
    refused("field of 200,000 bytes", field(200_000), 431),
    unfinished("field without an end", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"v" * 70_000, 431),
    served("95 fields", fields(94)),
    refused("150 fields", fields(150), 431),
    refused("150 fields of one name", get(b"/", *(b"X-A: v",) * 150), 431),
    refused("10,000 fields", fields(10_000), 431),
    refused("80 fields of 1,000 bytes", get(b"/", *(b"X-%d: " % n + b"v" * 1000 for n in range(80))), 431),
    refused("Host of 17,000 bytes", request(b"GET / HTTP/1.1", b"Host: " + b"a" * 17_000), either(431, 400)),
    refused("body of 200 MB announced", get(b"/", b"Content-Length: 200000000", method=b"POST"), 413),
    scripted("body of 200 MB announced, its start sent", Send(get(b"/", b"Content-Length: 200000000") + b"z" * 1000),
             statuses=(413,), closed=True),
    unfinished("body of 200 MB, 100-continue", get(b"/", b"Content-Length: 200000000", b"Expect: 100-continue"), 413),
    last("connection closed as asked after a large request", get(b"/" + b"p" * 7000, b"Connection: close")),
]  # fmt: skip

SMALL = [
    served("request line within the limit", target(950)),
    refused("request line beyond the limit", target(1050), 414),
    unfinished("request line beyond the limit, without an end", b"GET /" + b"p" * 1200, 414),
    served("field within the limit", field(1950)),
    refused("field beyond the limit", field(2100), 431),
    unfinished("fields beyond the limit, without an end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 6000, 431),
    served("fields within the limit together", get(b"/", *(b"X-%d: " % n + b"v" * 480 for n in range(10)))),
    refused("fields beyond the limit together", get(b"/", *(b"X-%d: " % n + b"v" * 480 for n in range(12))), 431),
    served("20 fields", fields(19)),
    refused("21 fields", fields(20), 431),
    served("body at the limit", post(b"z" * 10_000), received=b"z" * 10_000),
    refused("body beyond the limit", post(b"z" * 10_001), 413),
    refused("body beyond the limit: the application is not called", post(b"z" * 10_001, target=b"/?t=@TOKEN@"), 413,
            events=()),
    unfinished("body beyond the limit, announced only", get(b"/", b"Content-Length: 10001"), 413),
    unfinished("body beyond the limit, 100-continue", get(b"/", b"Content-Length: 10001", b"Expect: 100-continue"),
               413),
    refused("body far beyond the limit, all of it sent", post(b"z" * 500_000), 413),
    served("chunked body at the limit", chunked(*(chunk(b"z" * 1000),) * 10, b"0\r\n\r\n"), received=b"z" * 10_000),
    refused("chunked body beyond the limit", chunked(*(chunk(b"z" * 1000),) * 11, b"0\r\n\r\n"), 413),
    refused("chunk beyond the limit", chunked(chunk(b"z" * 10_001), b"0\r\n\r\n"), 413),
    unfinished("chunk beyond the limit, announced only", chunked(b"2711\r\n"), 413),
    unfinished("chunk of 4 GB announced", chunked(b"ffffffff\r\n"), 413),
    scripted("limits hold for the second request too", Send(get()), Answers(1), Send(target(1050)), statuses=(200, 414),
             closed=True),
    served("each request has its own limits", fields(19) + fields(19), 200, 200),
    served("bodies do not add up", post(b"z" * 9000) + post(b"z" * 9000), 200, 200),
]  # fmt: skip

CASES = [*PLAIN, *map(small, SMALL)]
