"""How the application's body is framed on the wire (RFC 9112, section 6; RFC 9110, sections 6.4, 8.6 and 15)."""

from __future__ import annotations

import re

from ..case import get, get10, head, last, post, served
from ..client import Framing

CHUNKED = Framing.CHUNKED
SIZED = Framing.LENGTH
NONE = Framing.NONE
UNTIL_CLOSE = Framing.CLOSE
KEEP = b"Connection: keep-alive"

GROUPS = {
    "PEP 3333 Handling the Content-Length Header": [
        # sized results
        served("one block", get(b"/unread"), body=b"not read", framing=SIZED, fields={"Content-Length": "8"}),
        served("list", get(b"/list"), body=b"onetwothree", framing=SIZED, fields={"Content-Length": "11"}),
        served("tuple with an empty block", get(b"/tuple"), body=b"onetwo", framing=SIZED,
               fields={"Content-Length": "6"}),
        served("empty list", get(b"/empty-list"), body=b"", framing=SIZED, fields={"Content-Length": "0"}),
        served("list of empty blocks", get(b"/empty-strings"), body=b"", framing=SIZED, fields={"Content-Length": "0"}),
        served("list with a close()", get(b"/closing-list"), body=b"sized and closed"),
        served("1 MB in one block", get(b"/big/1000000"), body=b"x" * 1_000_000, framing=SIZED),
        served("Content-Length from the application", get(b"/sized"), body=b"onetwo", framing=SIZED,
               fields={"Content-Length": "6", "Transfer-Encoding": None}),
        # Content-Length that lies
        last("too few bytes: cut off", get(b"/too-few"), body=b"five!", complete=False, announced=False),
        last("no bytes at all: cut off", get(b"/too-few-none"), body=b"", complete=False, announced=False),
        last("too few bytes: close() is called", get(b"/too-few?t=@TOKEN@"), body=b"five!", complete=False,
             announced=False, events=("called", "closed")),
        served("too many bytes are cut", get(b"/too-many"), body=b"five!"),
        served("too many bytes are cut, list", get(b"/too-many-list"), body=b"five!"),
        served("too many bytes are cut, write()", get(b"/too-many-written"), body=b"five!"),
        served("too many bytes: close() is called", get(b"/too-many?t=@TOKEN@"), body=b"five!",
               events=("called", "closed")),
    ],
    "PEP 3333 Buffering and Streaming": [
        # results of unknown length
        served("generator", get(b"/generator"), body=b"onetwothree", framing=CHUNKED,
               fields={"Content-Length": None, "Transfer-Encoding": "chunked"}),
        served("generator that yields nothing", get(b"/empty-generator"), body=b""),
        served("iterable object", get(b"/closing"), body=b"to be closed"),
        served("1 MB in blocks", get(b"/big-stream/1000000"), body=b"x" * 1_000_000, framing=CHUNKED),
        served("generator that starts late", get(b"/late-start"), 202, body=b"started late", reason="Late"),
    ],
    "PEP 3333 The write() Callable": [
        # write()
        served("write()", get(b"/write"), body=b"written twice, then returned"),
        served("write() alone, with its length", get(b"/write-only"), body=b"written", framing=SIZED),
        served("write(), then an iterator", get(b"/write-generator"), body=b"written, then iterated"),
        last("write() in HTTP/1.0", get10(b"/write"), body=b"written twice, then returned", framing=UNTIL_CLOSE),
        served("write() on HEAD", head(b"/write"), body=b""),
    ],
    "RFC 9112 section 6.3 Message Body Length: responses": [
        # HTTP/1.0
        last("1.0, list", get10(b"/list"), body=b"onetwothree", framing=SIZED),
        last("1.0, generator: the close is its end", get10(b"/generator"), body=b"onetwothree", framing=UNTIL_CLOSE,
             fields={"Transfer-Encoding": None}),
        last("1.0, generator with its length", get10(b"/sized"), body=b"onetwo", framing=SIZED),
        served("1.0 kept alive, list", get10(b"/list", KEEP), body=b"onetwothree", framing=SIZED),
        served("1.0 kept alive, generator with its length", get10(b"/sized", KEEP), body=b"onetwo", framing=SIZED),
        last("1.0 kept alive, generator", get10(b"/generator", KEEP), body=b"onetwothree", framing=UNTIL_CLOSE,
             announced=False, fields={"Connection": lambda value: "keep-alive" not in (value or "").lower()}),
        last("1.0, 1 MB in blocks", get10(b"/big-stream/1000000"), body=b"x" * 1_000_000, framing=UNTIL_CLOSE),
        last("1.1 with close, generator", get(b"/generator", b"Connection: close"), body=b"onetwothree"),
    ],
    "RFC 9110 section 9.3.2 HEAD": [
        # HEAD
        served("HEAD of a list keeps Content-Length", head(b"/list"), body=b"", fields={"Content-Length": "11"}),
        served("HEAD of an empty list", head(b"/empty-list"), body=b"",
               fields={"Content-Length": lambda value: value in ("0", None)}),
        served("HEAD keeps the application's Content-Length", head(b"/sized"), body=b"",
               fields={"Content-Length": "6"}),
        served("HEAD of a generator", head(b"/generator"), body=b"", fields={"Content-Length": None}),
        served("HEAD of 1 MB", head(b"/big/1000000"), body=b"", fields={"Content-Length": "1000000"}),
        served("HEAD of 1 MB in blocks", head(b"/big-stream/1000000"), body=b""),
        served("HEAD of a file", head(b"/file-length/500"), body=b"", fields={"Content-Length": "500"}),
        served("HEAD of an error", head(b"/raise"), 500, body=b""),
        served("HEAD with too few bytes", head(b"/too-few"), body=b"", fields={"Content-Length": "10"}),
        served("HEAD with none of its bytes", head(b"/too-few-none"), body=b"", fields={"Content-Length": "10"}),
        served("HEAD with too many bytes", head(b"/too-many"), body=b"", fields={"Content-Length": "5"}),
        last("HEAD in HTTP/1.0", get10(b"/list", method=b"HEAD"), body=b"", fields={"Content-Length": "11"}),
        served("HEAD calls close()", head(b"/closing?t=@TOKEN@"), body=b"", events=("called", "closed")),
        served("method head is not HEAD", get(b"/list", method=b"head"), body=b"onetwothree"),
    ],
    "RFC 9110 section 6.4.1 Content Semantics": [
        # statuses without a body
        served("204", get(b"/status/204"), 204, framing=NONE,
               fields={"Content-Length": None, "Transfer-Encoding": None, "X-Seen": "yes"}),
        served("204 with a body", get(b"/status-with-body/204"), 204, framing=NONE,
               fields={"Content-Length": None, "Transfer-Encoding": None}),
        served("204 streamed", get(b"/status-streamed/204"), 204, framing=NONE, fields={"Transfer-Encoding": None}),
        served("304", get(b"/status/304"), 304, framing=NONE, fields={"Transfer-Encoding": None}),
        served("304 with a body", get(b"/status-with-body/304"), 304, framing=NONE, fields={"Transfer-Encoding": None}),
        served("304 streamed", get(b"/status-streamed/304"), 304, framing=NONE, fields={"Transfer-Encoding": None}),
        served("304 does not claim a length of 0", get(b"/status/304"), 304, fields={"Content-Length": None}),
        served("HEAD and 204", head(b"/status/204"), 204, framing=NONE, fields={"Content-Length": None}),
        last("204 with close", get(b"/status/204", b"Connection: close"), 204, framing=NONE),
        last("204 in HTTP/1.0", get10(b"/status/204"), 204, framing=NONE),
        served("a 1xx from the application is no answer", get(b"/status-with-body/199"), 500),
        served("a 101 from the application is no answer", get(b"/status-streamed/101"), 500),
        served("205 has a length of 0", get(b"/status/205"), 205, body=b"", fields={"Content-Length": "0"}),
        served("body behind POST", post(b"abc", target=b"/list"), body=b"onetwothree"),
    ],
    "RFC 9110 section 15 Status Codes": [
        # statuses and reasons
        served("404", get(b"/status/404"), 404, body=b"", reason="Something Special"),
        served("418", get(b"/status-with-body/418"), 418, body=b"body!", reason="With Body"),
        served("500 from the application", get(b"/status-with-body/500"), 500, body=b"body!"),
        served("400 from the application closes nothing", get(b"/status-with-body/400"), 400, body=b"body!"),
        served("413 from the application closes nothing", get(b"/status-with-body/413"), 413, body=b"body!"),
        served("503 from the application closes nothing", get(b"/status-with-body/503"), 503, body=b"body!"),
        served("unknown status", get(b"/status/299"), 299, body=b"", reason="Something Special"),
        served("status beyond 5xx of the list", get(b"/status/599"), 599, body=b""),
    ],
    "RFC 9110 section 6.6.1 Date": [
        # general fields
        served("Date", get(b"/list"), fields={
            "Date": re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
                               r"\d{4} \d\d:\d\d:\d\d GMT"),
        }),
    ],
    "RFC 9110 section 10.2.4 Server": [
        served("Server", get(b"/list"), fields={"Server": re.compile(".+")}),
    ],
}  # fmt: skip
