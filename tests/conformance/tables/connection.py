"""Persistence, pipelining, half-closed clients, upgrades (RFC 9112, sections 9.3 and 9.6; RFC 9110, section 7.8)."""

from __future__ import annotations

from typing import Any

from ..case import (
    END_CHUNK,
    Case,
    chunk,
    chunked,
    dropped,
    get,
    get10,
    head,
    last,
    one_of,
    post,
    refused,
    scripted,
    served,
)
from ..exchange import Answers, HalfClose, Leave, Send

TOPIC = "connection"
KEEPS = {"Connection": lambda value: value is not None and "keep-alive" in value.lower()}
CLOSES = {"Connection": lambda value: value is not None and "close" in value.lower()}
HELLO = chunk(b"hello") + END_CHUNK


def connection(*values: bytes) -> bytes:
    return get(b"/", *(b"Connection: " + value for value in values))


def half_closed(name: str, sent: bytes, statuses: tuple[int, ...], **checks: Any) -> Case:
    checks = {"closed": True, "announced": False, **checks}
    return scripted(f"half-closed {name}", Send(sent), HalfClose(), statuses=statuses, **checks)


CASES = [
    # HTTP/1.1
    served("kept open by default", get()),
    served("kept open when asked", connection(b"keep-alive")),
    last("close", connection(b"close"), fields=CLOSES),
    last("Close", connection(b"Close"), fields=CLOSES),
    last("CLOSE", connection(b"CLOSE"), fields=CLOSES),
    last("close in a list, last", connection(b"foo, close"), fields=CLOSES),
    last("close in a list, first", connection(b"close, foo"), fields=CLOSES),
    last("close in a list without spaces", connection(b"foo,close,bar"), fields=CLOSES),
    last("close in a list with empty members", connection(b", ,close,"), fields=CLOSES),
    last("close in a second field", connection(b"foo", b"close"), fields=CLOSES),
    last("close beside keep-alive", connection(b"keep-alive, close"), fields=CLOSES),
    last("close with white space around", connection(b" \tclose\t "), fields=CLOSES),
    last("close behind a body", post(b"abc", b"Connection: close"), received=b"abc", fields=CLOSES),
    last("close behind a chunked body", get(b"/", b"Transfer-Encoding: chunked", b"Connection: close", body=HELLO),
         received=b"hello", fields=CLOSES),
    last("close, streamed answer", get(b"/generator", b"Connection: close"), body=b"onetwothree", fields=CLOSES),
    last("close on HEAD", get(b"/", b"Connection: close", method=b"HEAD"), body=b"", fields=CLOSES),
    served("closed is not close", connection(b"closed")),
    served("close in a part of a word", connection(b"not-close, closer")),
    served("another token", connection(b"foo")),
    served("empty Connection", connection(b"")),
    served("Proxy-Connection means nothing", get(b"/", b"Proxy-Connection: close")),
    served("Keep-Alive means nothing", get(b"/", b"Keep-Alive: timeout=1, max=1")),
    # HTTP/1.0
    last("1.0 closes", get10()),
    last("1.0 with close", get10(b"/", b"Connection: close")),
    last("1.0 with another token", get10(b"/", b"Connection: foo")),
    last("1.0 with keep-alive and close", get10(b"/", b"Connection: keep-alive, close")),
    served("1.0 with keep-alive", get10(b"/", b"Connection: keep-alive"), fields=KEEPS),
    served("1.0 with Keep-Alive", get10(b"/", b"Connection: Keep-Alive"), fields=KEEPS),
    served("1.0 with keep-alive in a list", get10(b"/", b"Connection: foo, keep-alive"), fields=KEEPS),
    served("1.0 with keep-alive and a body",
           get10(b"/", b"Connection: keep-alive", b"Content-Length: 3", method=b"POST", body=b"abc"),
           received=b"abc", fields=KEEPS),
    served("1.0 with keep-alive, HEAD", get10(b"/", b"Connection: keep-alive", method=b"HEAD"), fields=KEEPS, body=b""),
    served("1.0 with keep-alive, 204", get10(b"/status/204", b"Connection: keep-alive"), 204, fields=KEEPS),
    last("1.0 with keep-alive, unknown length: closes", get10(b"/generator", b"Connection: keep-alive"),
         body=b"onetwothree", announced=False),
    served("1.0 with keep-alive, twice",
           get10(b"/1", b"Connection: keep-alive") + get10(b"/2", b"Connection: keep-alive"),
           200, 200, paths=("/1", "/2"), fields=KEEPS),
    served("1.0 with keep-alive, then 1.1", get10(b"/1", b"Connection: keep-alive") + get(b"/2"), 200, 200,
           paths=("/1", "/2")),
    last("1.1, then 1.0", get(b"/1") + get10(b"/2"), 200, 200, paths=("/1", "/2")),
    # pipelining
    served("two", get(b"/1") + get(b"/2"), 200, 200, paths=("/1", "/2")),
    served("five", b"".join(get(b"/%d" % n) for n in range(5)), *(200,) * 5, paths=tuple(f"/{n}" for n in range(5))),
    served("a hundred", b"".join(get(b"/%d" % n) for n in range(100)), *(200,) * 100,
           paths=tuple(f"/{n}" for n in range(100))),
    served("different fields each", get(b"/1", b"X-A: b") + get(b"/2", b"X-C: d") + get(b"/3"), *(200,) * 3,
           paths=("/1", "/2", "/3"), environ={"HTTP_X_A": None, "HTTP_X_C": None}),
    served("bodies between", post(b"abc", target=b"/1") + post(b"defg", target=b"/2") + get(b"/3"), *(200,) * 3,
           paths=("/1", "/2", "/3")),
    served("chunked bodies between", chunked(HELLO, target=b"/1") + chunked(HELLO, target=b"/2") + get(b"/3"),
           *(200,) * 3, paths=("/1", "/2", "/3")),
    served("chunked, then sized", chunked(HELLO) + post(b"abc"), 200, 200, received=b"abc"),
    served("sized, then chunked", post(b"abc") + chunked(HELLO), 200, 200, received=b"hello"),
    served("trailers between", chunked(chunk(b"a"), b"0\r\nX-T: v\r\n\r\n") + get(b"/2"), 200, 200, paths=("/", "/2")),
    served("HEAD between", head() + get(b"/2") + head(), 200, 200, 200, methods=("HEAD", "GET", "HEAD")),
    served("204 and 304 between", get(b"/status/204") + get(b"/status/304") + get(b"/3"), 204, 304, 200),
    served("streamed answers", get(b"/generator") + get(b"/generator"), 200, 200, body=b"onetwothree"),
    served("large answers", get(b"/big/300000") + get(b"/big/300000") + get(b"/3"), *(200,) * 3),
    served("large streamed answers", get(b"/big-stream/300000") + get(b"/big-stream/300000") + get(b"/3"), *(200,) * 3),
    served("a slow one first", get(b"/sleep/20") + get(b"/2"), 200, 200, environ={"PATH_INFO": "/2"}),
    served("slow ones", get(b"/sleep/10") + get(b"/sleep/5") + get(b"/sleep/1"), *(200,) * 3, body=b"slept"),
    served("errors of the application between", get(b"/raise") + get(b"/2"), 500, 200, environ={"PATH_INFO": "/2"}),
    # a client that goes on after its own last request may be reset, once it has its answers
    last("close ends it", get(b"/1") + get(b"/2", b"Connection: close") + get(b"/3"), 200, 200, paths=("/1", "/2"),
         abrupt=True),
    last("1.0 ends it", get(b"/1") + get10(b"/2") + get(b"/3"), 200, 200, paths=("/1", "/2"), abrupt=True),
    refused("a bad one ends it", get(b"/1") + get(b"/2", b"bad") + get(b"/3"), 200, 400),
    refused("a bad one behind a body", post(b"abc") + get(b"/2", b"Host: b") + get(b"/3"), 200, 400),
    refused("junk behind a request", get() + b"junk\r\n\r\n", 200, 400),
    refused("junk behind a body", post(b"abc") + b"junk\r\n\r\n", 200, 400),
    refused("junk behind chunks", chunked(HELLO) + b"junk\r\n\r\n", 200, 400),
    refused("body longer than Content-Length", post(b"abc") + b"defg\r\n\r\n", 200, 400),
    refused("a body without Content-Length", get(method=b"POST", body=b"a=b\r\n\r\n"), 200, 400),
    # unread bodies
    served("body not read", post(b"abc", target=b"/unread") + get(b"/2"), 200, 200, environ={"PATH_INFO": "/2"}),
    served("body not read, ten times", post(b"abc", target=b"/unread") * 10 + get(b"/2"), *(200,) * 11,
           environ={"PATH_INFO": "/2"}),
    served("large body partly read", post(b"abc" + b"z" * 400_000, target=b"/partly-read"), body=b"abc"),
    served("chunked body partly read", chunked(HELLO, target=b"/partly-read"), body=b"hel"),
    served("body read by lines, not to its end", post(b"a\nb\nc", target=b"/input/readline"), body=b'["a\\n"]'),
    served("body partly read", post(b"abcdef", target=b"/partly-read"), body=b"abc"),
    served("large body not read", post(b"z" * 400_000, target=b"/unread"), body=b"not read"),
    served("chunked body not read", chunked(HELLO, target=b"/unread"), body=b"not read"),
    served("body like a request, not read", post(get(b"/forged"), target=b"/unread"), body=b"not read"),
    served("body not read by an application that fails", post(get(b"/forged"), target=b"/raise"), 500),
    served("body with 204", post(get(b"/forged"), target=b"/status/204"), 204),
    # half-closed clients
    half_closed("behind a request", get(), statuses=(200,)),
    half_closed("behind a body", post(b"abc"), statuses=(200,), received=b"abc"),
    half_closed("behind a pipeline", get(b"/1") + get(b"/2") + get(b"/3"), statuses=(200, 200, 200),
                paths=("/1", "/2", "/3")),
    half_closed("while the application works", get(b"/sleep/50") + get(b"/2"), statuses=(200, 200)),
    half_closed("before a streamed answer", get(b"/big-stream/500000"), statuses=(200,)),
    half_closed("before a large answer", get(b"/big/2000000"), statuses=(200,)),
    half_closed("amid the second head", get(b"/1") + b"GET / HT", statuses=(200,), otherwise=(200, 400)),
    # unfinished messages: refused or dropped, never answered as if they were whole
    dropped("nothing at all, half-closed", b"", script=(HalfClose(),), alone=True),
    dropped("an empty line, half-closed", b"\r\n", script=(Send(b"\r\n"), HalfClose()), alone=True),
    scripted("unfinished request line", Send(b"GET / HT"), HalfClose(), statuses=(), closed=True, otherwise=(400,)),
    scripted("unfinished head", Send(get()[:-2]), HalfClose(), statuses=(), closed=True, otherwise=(400,)),
    scripted("unfinished body", Send(post(b"abcdef", target=b"/?t=@TOKEN@")[:-3]), HalfClose(), statuses=(),
             closed=True, otherwise=(400,), events=()),
    scripted("unfinished chunk", Send(chunked(HELLO, target=b"/?t=@TOKEN@")[:-9]), HalfClose(), statuses=(),
             closed=True, otherwise=(400,), events=()),
    scripted("no last chunk", Send(chunked(HELLO, target=b"/?t=@TOKEN@")[:-5]), HalfClose(), statuses=(),
             closed=True, otherwise=(400,), events=()),
    scripted("unfinished last chunk", Send(chunked(HELLO, target=b"/?t=@TOKEN@")[:-2]), HalfClose(), statuses=(),
             closed=True, otherwise=(400,), events=()),
    scripted("reset amid a body", Send(post(b"abcdef", target=b"/?t=@TOKEN@")[:-3]), Leave(reset=True), statuses=(),
             closed=True, events=()),
    scripted("left amid a chunk", Send(chunked(HELLO, target=b"/?t=@TOKEN@")[:-9]), Leave(), statuses=(),
             closed=True, events=()),
    scripted("left amid the second request", Send(get(b"/1")), Answers(1),
             Send(post(b"abc", target=b"/?t=@TOKEN@")[:-1]), Leave(), statuses=(200,), closed=True, announced=False,
             events=()),
    scripted("bad chunk: the application is not called", Send(chunked(b"x\r\n", target=b"/?t=@TOKEN@")),
             statuses=(400,), closed=True, events=()),
    # one after the other
    scripted("sent after the first answer", Send(get(b"/1")), Answers(1), Send(get(b"/2")), Answers(2),
             Send(get(b"/3")), statuses=(200, 200, 200), closed=False, paths=("/1", "/2", "/3")),
    scripted("body sent late", Send(post(b"abcdef")[:-6]), Send(b"abc"), Send(b"def"), statuses=(200,), closed=False,
             received=b"abcdef"),
    # upgrades
    served("Upgrade to websocket is ignored", get(b"/", b"Connection: Upgrade", b"Upgrade: websocket",
           b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), environ={"PATH_INFO": "/"}),
    served("Upgrade to h2c is ignored", get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
           b"HTTP2-Settings: AAMAAABkAAQAAP__"), environ={"PATH_INFO": "/"}),
    served("Upgrade with a body", post(b"abc", b"Connection: upgrade", b"Upgrade: foo/2"), received=b"abc"),
    served("Upgrade to TLS is ignored", get(b"*", b"Connection: Upgrade", b"Upgrade: TLS/1.2", method=b"OPTIONS")),
    served("Upgrade without Connection", get(b"/", b"Upgrade: websocket"), fields={"Upgrade": None}),
    served("Upgrade is not announced", get(), fields={"Upgrade": one_of(None)}),
]  # fmt: skip
