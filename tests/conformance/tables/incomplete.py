"""Messages that never end: refused or dropped, never answered as if they were whole (RFC 9112 section 8)."""

from __future__ import annotations

from ..case import END_CHUNK, Stage, chunk, chunked, dropped, get, post, scripted, unfinished
from ..exchange import Answers, HalfClose, Leave, Send

HELLO = chunk(b"hello") + END_CHUNK
BODY = post(b"12345")
CHUNK = b"5\r\nhello\r\n"
NOT_CALLED: tuple[str, ...] = ()
TOKEN_TARGET = b"/?t=@TOKEN@"

GROUPS = {
    "RFC 9112 section 8 Handling Incomplete Messages": [
        dropped("nothing at all, half-closed", b"", script=(HalfClose(),), alone=True, stage=Stage.IDLE),
        unfinished("unfinished request line", b"GET / HT", Stage.HEAD),
        unfinished("unfinished request line behind a request", get() + b"GET /", Stage.HEAD, 200),
        unfinished("unfinished request line behind a request with a path", get(b"/1") + b"GET / HT", Stage.HEAD, 200),
        unfinished("unfinished head", get()[:-2], Stage.HEAD),
        unfinished("unfinished body, its head alone", BODY[:-5], Stage.BODY),
        unfinished("unfinished body, all but a byte", BODY[:-1], Stage.BODY),
        unfinished("unfinished body", post(b"abcdef", target=TOKEN_TARGET)[:-3], Stage.BODY, events=NOT_CALLED),
        unfinished("unfinished chunk", chunked(HELLO, target=TOKEN_TARGET)[:-9], Stage.BODY, events=NOT_CALLED),
        unfinished("unfinished chunk, its data cut", chunked(CHUNK[:-3]), Stage.BODY),
        unfinished("no last chunk", chunked(HELLO, target=TOKEN_TARGET)[:-5], Stage.BODY, events=NOT_CALLED),
        unfinished("no last chunk, and no token", chunked(CHUNK), Stage.BODY),
        unfinished("unfinished last chunk", chunked(HELLO, target=TOKEN_TARGET)[:-2], Stage.BODY, events=NOT_CALLED),
        unfinished("unfinished last chunk, all but a byte", chunked(CHUNK, END_CHUNK[:-1]), Stage.BODY),
        unfinished("unfinished trailers", chunked(CHUNK, b"0\r\nX-T: v\r\n"), Stage.BODY),
        scripted("reset amid a body", Send(post(b"abcdef", target=TOKEN_TARGET)[:-3]), Leave(reset=True), statuses=(),
                 closed=True, events=NOT_CALLED),
        scripted("left amid a chunk", Send(chunked(HELLO, target=TOKEN_TARGET)[:-9]), Leave(), statuses=(),
                 closed=True, events=NOT_CALLED),
        scripted("left amid the second request", Send(get(b"/1")), Answers(1),
                 Send(post(b"abc", target=TOKEN_TARGET)[:-1]), Leave(), statuses=(200,), closed=True, announced=False,
                 events=NOT_CALLED),
        scripted("bad chunk: the application is not called", Send(chunked(b"x\r\n", target=TOKEN_TARGET)),
                 statuses=(400,), closed=True, events=NOT_CALLED, section="RFC 9112 section 7.1"),
    ],
}  # fmt: skip
