"""Expect: 100-continue and everything else (RFC 9110, section 10.1.1)."""

from __future__ import annotations

from ..case import Case, chunk, get, get10, last, post, refused, scripted, served
from ..exchange import Answers, Send

TOPIC = "expect"
BODY = b"hello"
TOKEN_TARGET = b"/?t=@TOKEN@"


def waiting(name: str, *lines: bytes, target: bytes = b"/", body: bytes = BODY, **checks: object) -> Case:
    """The client sends its body only after 100 (Continue)."""
    start = get(target, *lines, method=b"POST")
    checks = {"statuses": (200,), "closed": False, "interim": (100,), "received": BODY, **checks}
    return scripted(name, Send(start), Answers(1), Send(body), **checks)  # type: ignore[arg-type]


CASES = [
    waiting("100-continue", b"Content-Length: 5", b"Expect: 100-continue"),
    waiting("100-Continue", b"Content-Length: 5", b"Expect: 100-Continue"),
    waiting("100-CONTINUE", b"Content-Length: 5", b"EXPECT: 100-CONTINUE"),
    waiting("100-continue with white space around", b"Content-Length: 5", b"Expect: \t100-continue "),
    waiting("100-continue before the length", b"Expect: 100-continue", b"Content-Length: 5"),
    waiting(
        "100-continue, chunked",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        body=chunk(BODY) + b"0\r\n\r\n",
    ),
    waiting(
        "100-continue, large body",
        b"Content-Length: 400000",
        b"Expect: 100-continue",
        body=b"z" * 400_000,
        received=b"z" * 400_000,
    ),
    waiting(
        "100-continue and close",
        b"Content-Length: 5",
        b"Expect: 100-continue",
        b"Connection: close",
        closed=True,
    ),
    waiting(
        "100-continue, body not read",
        b"Content-Length: 5",
        b"Expect: 100-continue",
        target=b"/unread",
        received=None,
        body=BODY,
    ),
    scripted(
        "100-continue on a connection in use",
        Send(get(b"/1")),
        Answers(1),
        Send(get(b"/2", b"Content-Length: 5", b"Expect: 100-continue")),
        Answers(2),
        Send(BODY),
        statuses=(200, 200),
        closed=False,
        interim=(100,),
        received=BODY,
    ),
    scripted(
        "once a body: not again for the pieces of it",
        Send(get(b"/", b"Content-Length: 5", b"Expect: 100-continue")),
        Answers(1),
        Send(b"he"),
        Send(b"l"),
        Send(b"lo"),
        statuses=(200,),
        closed=False,
        interim=(100,),
        received=BODY,
    ),
    scripted(
        "asked for by two requests",
        *(Send(get(b"/1", b"Content-Length: 5", b"Expect: 100-continue")), Answers(1), Send(BODY), Answers(2)),
        *(Send(get(b"/2", b"Content-Length: 5", b"Expect: 100-continue")), Answers(3), Send(BODY)),
        statuses=(200, 200),
        closed=False,
        interim=(100, 100),
        received=BODY,
    ),
    # where no 100 may be sent, and none is waited for
    served("100-continue with the body here", post(BODY, b"Expect: 100-continue"), received=BODY, whole=True),
    served("100-continue, body in pieces", post(BODY, b"Expect: 100-continue"), received=BODY, interim=None),
    served("100-continue without a body", get(b"/", b"Expect: 100-continue"), received=b""),
    served("100-continue with a body of 0", post(b"", b"Expect: 100-continue"), received=b""),
    last(
        "100-continue in HTTP/1.0",
        get10(b"/", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST", body=BODY),
        received=BODY,
    ),
    served("no expectation, no 100", post(BODY), received=BODY),
    served("empty Expect", get(b"/", b"Expect:")),
    waiting("a list: empty members are none", b"Content-Length: 5", b"Expect: , 100-continue,"),
    waiting("a list: twice is once", b"Content-Length: 5", b"Expect: 100-continue, 100-Continue"),
    waiting("a list: in two fields", b"Content-Length: 5", b"Expect: 100-continue", b"Expect: 100-continue"),
    served("a list of nothing, body withheld by nobody", post(BODY, b"Expect: ,"), received=BODY),
    # others
    refused("another expectation", get(b"/", b"Expect: 200-ok"), 417),
    refused("another expectation with a body", post(BODY, b"Expect: x"), 417),
    refused("another expectation beside 100-continue", post(BODY, b"Expect: 100-continue, x"), 417),
    refused("another expectation in a second field", post(BODY, b"Expect: 100-continue", b"Expect: x"), 417),
    refused("expectation with a value", post(BODY, b"Expect: 100-continue=1"), 417),
    refused("expectation: the application is not called", post(BODY, b"Expect: x", target=TOKEN_TARGET), 417,
            events=()),
    scripted(
        "another expectation, body withheld",
        Send(get(b"/", b"Content-Length: 5", b"Expect: x")),
        statuses=(417,),
        closed=True,
    ),
    scripted(
        "bad framing is refused, not continued",
        Send(get(b"/", b"Content-Length: x", b"Expect: 100-continue")),
        statuses=(400,),
        closed=True,
    ),
    scripted(
        "bad chunk behind 100",
        Send(get(TOKEN_TARGET, b"Transfer-Encoding: chunked", b"Expect: 100-continue")),
        Answers(1),
        Send(b"x\r\n"),
        statuses=(400,),
        closed=True,
        interim=(100,),
        events=(),
    ),
]  # fmt: skip
