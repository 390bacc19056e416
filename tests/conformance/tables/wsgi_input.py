"""wsgi.input: each way to read, safe at the end (PEP 3333)."""

from __future__ import annotations

import json

from ..case import END_CHUNK, Case, chunk, chunked, get, post, served

LINES = b"first\nsecond line\n\nlast"


def reading(calls: str, *expected: str | list[str], body: bytes = LINES) -> Case:
    """The calls on wsgi.input, by their names, and what they returned."""
    return served(calls, post(body, target=b"/input/" + calls.encode()), body=json.dumps(list(expected)).encode())


def framed(name: str, sent: bytes, *expected: str | list[str]) -> Case:
    return served(name, sent, body=json.dumps(list(expected)).encode())


ALL = LINES.decode()
SPLIT = ["first\n", "second line\n", "\n", "last"]

GROUPS = {
    "PEP 3333 Input and Error Streams": [
        reading("read", ALL),
        reading("read:-1", ALL),
        reading("read:none", ALL),
        reading("read:5", "first"),
        reading("read:0", ""),
        reading("read:1000", ALL),
        reading("read,read", ALL, ""),
        reading("read,read:5,readline", ALL, "", ""),
        reading("read:5,read:7,read", "first", "\nsecond", " line\n\nlast"),
        reading("read:5,read:-1", "first", ALL[5:]),
        reading("readline", "first\n"),
        reading("readline,readline,readline,readline,readline", *SPLIT, ""),
        reading("readline:3", "fir"),
        reading("readline:3,readline:3,readline", "fir", "st\n", "second line\n"),
        reading("readline:-1", "first\n"),
        reading("readline:100", "first\n"),
        reading("readline:0", ""),
        reading("readline:6", "first\n"),
        reading("readlines", SPLIT),
        reading("readlines,readlines", SPLIT, []),
        reading("readlines,read", SPLIT, ""),
        reading("readline,readlines", "first\n", SPLIT[1:]),
        reading("iter", SPLIT),
        reading("iter,iter", SPLIT, []),
        reading("next,read", "first\n", ALL[6:]),
        reading("read:6,iter", "first\n", SPLIT[1:]),
        reading("read,iter", ALL, []),
        framed("an empty line", post(b"\n", target=b"/input/readline,read"), "\n", ""),
        reading("readlines,read:1", ["\r\n", "a\r\n", "b\r"], "", body=b"\r\na\r\nb\r"),
        reading("readline,readline:2,readline", "x" * 5000 + "\n", "yy", "y" * 4998,
                body=b"x" * 5000 + b"\n" + b"y" * 5000),
        framed("no body: read", get(b"/input/read"), ""),
        framed("no body: read:10", get(b"/input/read:10"), ""),
        framed("no body: readline", get(b"/input/readline"), ""),
        framed("no body: readlines", get(b"/input/readlines"), []),
        framed("no body: iter", get(b"/input/iter"), []),
        framed("empty body: read,readline", post(b"", target=b"/input/read,readline"), "", ""),
        framed("chunked: read", chunked(chunk(LINES), END_CHUNK, target=b"/input/read"), ALL),
        framed("chunked: read:5,read", chunked(chunk(LINES), END_CHUNK, target=b"/input/read:5,read"), "first",
               ALL[5:]),
        framed("chunked: lines across chunks",
               chunked(chunk(b"first\nsec"), chunk(b"ond line\n"), chunk(b"\nla"), chunk(b"st"), END_CHUNK,
                       target=b"/input/readlines"), SPLIT),
        framed("chunked: readline:3,read", chunked(chunk(b"f"), chunk(b"ir"), chunk(b"st\n"), END_CHUNK,
               target=b"/input/readline:3,read"), "fir", "st\n"),
        framed("next request's bytes are out of reach", post(b"abc", target=b"/input/read:1000,read:1000"), "abc", ""),
        framed("spooled body: read:5,readline:5,read:-1",
               post(b"z" * 300_000 + b"\nend", target=b"/input/read:299999,readline,readline,read"), "z" * 299_999,
                    "z\n",
               "end", ""),
        framed("spooled body: iter", post(b"z\n" * 150_000, target=b"/input/read:299996,iter"), "z\n" * 149_998,
               ["z\n", "z\n"]),
    ],
}  # fmt: skip
