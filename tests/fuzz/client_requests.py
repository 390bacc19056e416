"""Requests as browsers and proxies send them on one connection: each is its forerunner with few changes, or none.

An engine that remembers the last head and looks only for what differs is wrong where something differs that it does
not look for; what these requests change is meant to find that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

Field = tuple[bytes, bytes]

METHODS = (b"GET", b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"get", b"X-M!", b"TRACE")
TARGETS = (
    b"/", b"/", b"/a", b"/a?b=c", b"/a?b=d", b"/app", b"/app/", b"/app/x?y", b"/apple", b"/%61", b"/a%2fb", b"/%zz",
    b"/%", b"/a//b", b"/?", b"/??", b"/a;b", b"*", b"http://h/x", b"http://h:81/x?q", b"https://u@h/", b"h:1", b"//a",
    b"/\xe9", b"/%e9", b"/%00", b"/a#b", b"/" + b"p" * 300, b"/p?" + b"q" * 900, b"a", b"",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 12 + (b"HTTP/1.0",) * 3 + (b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1,1")
BROWSER: tuple[Field, ...] = (
    (b"Host", b"www.example.org"), (b"Connection", b"keep-alive"), (b"Cache-Control", b"max-age=0"),
    (b"Upgrade-Insecure-Requests", b"1"), (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) Gecko/1"),
    (b"Accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), (b"Referer", b"http://www.example.org/a"),
    (b"Accept-Encoding", b"gzip, deflate"), (b"Accept-Language", b"de,en;q=0.7"), (b"Cookie", b"a=1; session=22"),
)  # fmt: skip
PROXY: tuple[Field, ...] = (
    (b"Host", b"inner"), (b"X-Forwarded-For", b"192.0.2.1"), (b"X-Forwarded-Proto", b"https"),
    (b"X-Request-Id", b"abc-1"), (b"Forwarded", b"for=192.0.2.7;proto=https;host=w"),
)  # fmt: skip
TELLING: tuple[Field, ...] = (
    (b"Host", b"inner"), (b"X-Forwarded-For", b"203.0.113.1, 192.0.2.1"), (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"w.example:444"), (b"X-Forwarded-Port", b"444"), (b"X-Forwarded-Prefix", b"/app"),
    (b"X-Forwarded-Ssl", b"on"), (b"Forwarded", b"for=192.0.2.7;proto=https;host=\"w:8\""),
)  # fmt: skip
FEWEST: tuple[Field, ...] = ((b"Host", b"a"),)
FIRST = (FEWEST, BROWSER, BROWSER, BROWSER, PROXY, TELLING)
# What a further field may be, or become.
FIELDS: tuple[Field, ...] = (
    (b"Host", b"b"), (b"Host", b"a:80"), (b"Host", b"a:"), (b"Host", b""), (b"Host", b"a b"), (b"Host", b"a/b"),
    (b"host", b"c"), (b"HOST", b"[::1]:8"), (b"Host", b"a_b"), (b"Host", b"%20"), (b"Host", b"a,b"),
    (b"Connection", b"close"), (b"Connection", b"Close"), (b"connection", b"keep-alive"), (b"Connection", b"x, close"),
    (b"Connection", b"upgrade"), (b"Connection", b""), (b"Keep-Alive", b"timeout=5"), (b"Upgrade", b"h2c"),
    (b"Content-Length", b"0"), (b"Content-Length", b"00"), (b"Content-Length", b"-1"), (b"Content-Length", b"1,1"),
    (b"content-length", b"0"), (b"Content_Length", b"9"), (b"Content-Type", b"text/plain"), (b"Content-Type", b""),
    (b"Expect", b"100-continue"), (b"Expect", b"200-ok"), (b"Cookie", b"b=2"), (b"Cookie", b"a=1; session=23"),
    (b"X-Forwarded-For", b"192.0.2.1, 192.0.2.2"), (b"X-Forwarded-For", b"junk"), (b"X-Forwarded-Host", b"w:81"),
    (b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Port", b"444"), (b"X-Forwarded-Prefix", b"/p"),
    (b"X-Forwarded-Host", b"a b"), (b"X-Forwarded-Host", b"b, c, d:"), (b"X-Forwarded-Port", b"0"),
    (b"X-Forwarded-Prefix", b"p"), (b"X-Forwarded-Prefix", b"/app, /%2e%2e"), (b"X-Forwarded-Prefix", b"/%61pp/"),
    (b"X-Forwarded-Ssl", b"off"), (b"Forwarded", b"host=\"a b\";proto=http"),
    (b"X-Real-IP", b"192.0.2.3"), (b"Forwarded", b"for=\"[2001:db8::1]\""), (b"Forwarded", b"junk;;"),
    (b"X-Request-Id", b"abc-2"), (b"X-Request-Id", b"not usable"), (b"X_A", b"underscore"), (b"X-A", b"dash"),
    (b"x-a", b"lower"), (b"X-A", b"\t padded \t"), (b"X-A", b"\xe9t\xe9"), (b"X-A", b""), (b"X-A", b"a\x7fb"),
    (b"X-A", b"a\x01b"), (b"X-A", b"a\0b"), (b"X-A", b"v" * 250), (b"X-" + b"N" * 90, b"v"), (b"X A", b"v"),
    (b"", b"nameless"), (b"X-A ", b"v"), (b" X-A", b"v"), (b"Proxy", b"p"), (b"If-None-Match", b"\"x\""),
    (b"TE", b"trailers"), (b"Transfer-Encoding", b"gzip"), (b"Transfer-Encoding", b"identity"),
    (b"Authorization", b"Basic dTpw"), (b"Authorization", b"Bearer x"), (b"DNT", b"1"), (b"Range", b"bytes=0-1"),
)  # fmt: skip
SEPARATORS = (b": ",) * 30 + (b":", b":  ", b":\t", b" : ", b"")
BODIES = (b"", b"x", b"a=b&c=d", b"line\nline\r\n\nend", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
LARGE_BODIES = (b"0123456789" * 100, b"\0\xff" * 3000)


@dataclass(slots=True)
class Draft:
    """A request that is still changed."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[Field]
    body: bytes
    chunks: int  # in how many its body is sent; 0: it is announced by Content-Length
    separator: bytes = b": "
    end: bytes = b"\r\n"

    def data(self) -> bytes:
        fields, body = self.fields, self.body
        if self.chunks:
            fields = [*fields, (b"Transfer-Encoding", b"chunked")]
            size = max(1, -(-len(body) // self.chunks))
            blocks = [body[at : at + size] for at in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"
        elif body:
            fields = [*fields, (b"Content-Length", b"%d" % len(body))]
        lines = [b"%b %b %b" % (self.method, self.target, self.version)]
        lines += [name + self.separator + value for name, value in fields]
        return self.end.join(lines) + b"\r\n\r\n" + body


def requests(chance: random.Random) -> list[bytes]:
    """Some of one client, in their order."""
    draft = Draft(b"GET", b"/", b"HTTP/1.1", list(chance.choice(FIRST)), b"", 0)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        _change(chance, draft)
    found = [draft.data()]
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 5))):
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            _change(chance, draft)
        found.append(draft.data())
        draft.separator, draft.end = b": ", b"\r\n"
    return found


def _change(chance: random.Random, draft: Draft) -> None:
    """One thing is otherwise than in the request before."""
    fields = draft.fields
    at = chance.randrange(len(fields) + 1)
    match chance.randrange(20):
        case 0:
            draft.method = chance.choice(METHODS)
        case 1 | 2:
            draft.target = chance.choice(TARGETS)
        case 3:
            draft.version = chance.choice(VERSIONS)
        case 4:
            draft.body, draft.chunks = chance.choice(BODIES), chance.choice((0, 0, 0, 1, 2, 9))
        case 5:
            if chance.random() < 0.3:
                draft.body, draft.chunks = chance.choice(LARGE_BODIES), chance.choice((0, 0, 1, 40, 1500))
            else:
                draft.body, draft.chunks = b"", 0
        case 6:
            draft.separator = chance.choice(SEPARATORS)
        case 7:
            draft.end = chance.choice((b"\r\n",) * 20 + (b"\n", b"\r", b"\r\r\n"))
        case 8 | 9:
            fields.insert(at, chance.choice(FIELDS))
        case 10 | 11:
            fields[at : at + 1] = [chance.choice(FIELDS)]
        case 12:
            del fields[at : at + 1]
        case 13:
            fields.insert(at, chance.choice(fields or FIELDS))
        case 14:
            fields.sort(key=lambda _: chance.random())
        case 15:
            fields[at : at + 1] = [(name.swapcase(), value) for name, value in fields[at : at + 1]]
        case 16:  # as long as before, and a byte of it is another
            fields[at : at + 1] = [(name, _another_byte(chance, value)) for name, value in fields[at : at + 1]]
        case 17:
            fields[at : at + 1] = [(_another_byte(chance, name), value) for name, value in fields[at : at + 1]]
        case 18:  # the name ends elsewhere, and the line is the same but for a byte
            fields[at : at + 1] = [(name[:-1], value + name[-1:]) for name, value in fields[at : at + 1]]
        case _:
            fields[at : at + 1] = [(name, value + b"0" * chance.randrange(1, 9)) for name, value in fields[at : at + 1]]


def _another_byte(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(max(1, len(data)))
    other = chance.choice(b"azAZ09-_:;, \t\x7f\x80\xff\x1f")
    return data[:at] + bytes([other]) + data[at + 1 :]
