"""Expect: 100-continue and everything else (RFC 9110 section 10.1.1)."""

from __future__ import annotations

from ..case import Case, chunk, get, get10, last, post, refused, scripted, served
from ..exchange import Answers, Send

BODY = b"hello"
TOKEN_TARGET = b"/?t=@TOKEN@"
EXPECTED = {  # with the body behind it at once
    "100-continue with the body here": b" 100-continue",
    "100-Continue with the body here": b"100-Continue",
    "100-CONTINUE with the body here": b" 100-CONTINUE",
    "100-continue, white space around, with the body here": b" \t100-continue ",
    "empty Expect with the body here": b"",
    "a list of nothing, body withheld by nobody": b" ,",
    "a list of white space with the body here": b" \t,\t",
    "a list with empty members with the body here": b",100-continue, ,",
    "a list: twice is once, with the body here": b" 100-continue, 100-Continue",
}
OTHERS = {
    "another expectation with a body": b"x",
    "another expectation with a number": b"200-ok",
    "another expectation beside 100-continue": b"100-continue, x",
    "another expectation behind an empty member": b",x",
    "expectation with a value": b"100-continue=1",
    "expectation with a parameter": b"100-continue;a=b",
    "expectation of two words": b"100-continue 100-continue",
    "expectation with a quoted list": b'x="100-continue, 100-continue"',
}


def waiting(name: str, *lines: bytes, target: bytes = b"/", body: bytes = BODY, **checks: object) -> Case:
    """The client sends its body only after 100 (Continue)."""
    start = get(target, *lines, method=b"POST")
    checks = {"statuses": (200,), "closed": False, "interim": (100,), "received": BODY, **checks}
    return scripted(name, Send(start), Answers(1), Send(body), **checks)  # type: ignore[arg-type]


GROUPS = {
    "RFC 9110 section 10.1.1 Expect": [
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
        *(served(name, post(BODY, b"Expect:" + value), received=BODY, whole=True) for name, value in EXPECTED.items()),
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
        last("another expectation in HTTP/1.0", get10(b"/", b"Expect: x", b"Content-Length: 5", body=BODY),
             received=BODY),
        # others
        refused("another expectation", get(b"/", b"Expect: 200-ok"), 417),
        *(refused(name, post(BODY, b"Expect: " + value), 417) for name, value in OTHERS.items()),
        refused("another expectation in a second field", post(BODY, b"Expect: 100-continue", b"Expect: x"), 417),
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
            section="RFC 9112 section 6.3",
        ),
        refused("bad framing is refused before another expectation", get(b"/", b"Content-Length: x", b"Expect: y"),
                section="RFC 9112 section 6.3"),
        scripted(
            "bad chunk behind 100",
            Send(get(TOKEN_TARGET, b"Transfer-Encoding: chunked", b"Expect: 100-continue")),
            Answers(1),
            Send(b"x\r\n"),
            statuses=(400,),
            closed=True,
            interim=(100,),
            events=(),
            section="RFC 9112 section 7.1",
        ),
    ],
}  # fmt: skip
