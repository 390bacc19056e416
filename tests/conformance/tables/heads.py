"""Status and header fields from the application, fit and unfit to be sent (PEP 3333; RFC 9110, sections 5.5, 7.6)."""

from __future__ import annotations

import re

from ..case import Case, get, get10, head, last, served

LINKS = ("</style.css>; rel=preload", "</app.js>; rel=preload")


def unfit(name: str, target: bytes) -> Case:
    """500, nothing of the application's head or body is sent, and the connection goes on."""
    return served(name, get(target), 500, fields={"X-Leaked": None, "X-Injected": None, "X-A": None},
                  body=lambda sent: b"sent all the same" not in sent)  # fmt: skip


GROUPS = {
    "RFC 8297 section 2 HTTP Status Code 103: Early Hints": [
        # 103 Early Hints
        served("early hints", get(b"/early-hints"), body=b"hinted", interim=(103,), links=LINKS),
        served("early hints on HEAD", head(b"/early-hints"), body=b"", interim=(103,), links=LINKS),
        last("early hints and close", get(b"/early-hints", b"Connection: close"), body=b"hinted", interim=(103,)),
        last("no early hints in HTTP/1.0", get10(b"/early-hints"), interim=()),
        served("early hints, twice", get(b"/early-hints") + get(b"/early-hints"), 200, 200, body=b"hinted",
               interim=(103, 103)),
        served("unfit hints are not sent", get(b"/unfit-hints"), 500, interim=(), fields={"X-Injected": None}),
        served("hop-by-hop fields and framing are kept out of hints", get(b"/framed-hints"), body=b"hinted",
               interim=(103,), links=("</a>; rel=preload",)),
        served("hints behind the head are not sent", get(b"/late-hints"), interim=(),
               body=re.compile(rb"head first, (refused|ignored)")),
    ],
    "PEP 3333 The start_response() Callable": [
        served("latin-1 value", get(b"/header/latin-1"), fields={"X-A": "caf\xe9"}),
        served("empty value", get(b"/header/empty"), fields={"X-A": ""}),
        served("tab in a value", get(b"/header/tab"), fields={"X-A": "a\tb"}),
        served("Set-Cookie stays repeated", get(b"/header/cookies"), fields={"Set-Cookie": ("a=1; Path=/",
               "b=2; Path=/")}),
        served("status without a reason", get(b"/status-alone/200"), body=b"no reason", reason=""),
        served("another status without a reason", get(b"/status-alone/404"), 404, body=b"no reason", reason=""),
        served("white space around Content-Length", get(b"/padded-length"), body=b"padded",
               fields={"Content-Length": "6"}),
        served("Date of the application wins", get(b"/header/own-date"),
               fields={"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}),
        served("Server of the application wins", get(b"/header/own-server"), fields={"Server": "conformance/1"}),
        *(
            unfit(f"unfit value: {name}", b"/bad-header/" + name.encode())
            for name in ("crlf", "line-feed", "carriage-return", "null", "wide", "value-bytes", "value-number",
                         "value-none")
        ),
        *(
            unfit(f"unfit name: {name}", b"/bad-header/name-" + name.encode())
            for name in ("space", "colon", "crlf", "empty", "latin-1", "bytes")
        ),
        *(
            unfit(f"unfit status: {name}", b"/bad-status/" + name.encode())
            for name in ("empty", "word", "two-digits", "four-digits", "no-space", "line-feed", "crlf", "null", "wide",
                         "bytes", "number")
        ),
        *(
            unfit(f"unfit Content-Length: {name}", b"/bad-header/length-" + name.encode())
            for name in ("word", "negative", "empty", "sign", "list", "two")
        ),
        served("close() of a result with an unfit head", get(b"/bad-header-later?t=@TOKEN@"), 500,
               fields={"X-Injected": None}, events=("called", "closed")),
        served("unfit value on HEAD", head(b"/bad-header/crlf"), 500, body=b"", fields={"X-Injected": None}),
    ],
    "PEP 3333 Other HTTP Features": [
        served("hop-by-hop fields are removed", get(b"/header/hop-by-hop"), body=b"fine", fields={
            "Connection": None, "Keep-Alive": None, "Transfer-Encoding": None, "Upgrade": None, "TE": None,
            "Trailer": None,
            "Proxy-Authenticate": lambda value: True, "X-A": lambda value: value in ("stays", None),
            "Content-Length": "4",
        }),
        last("hop-by-hop fields are removed, HTTP/1.0", get10(b"/header/hop-by-hop"), body=b"fine",
             fields={"Transfer-Encoding": None, "Content-Length": "4"}),
    ],
}  # fmt: skip
