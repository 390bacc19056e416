"""Routes that give a status or header fields, fit or unfit to be sent, and 103 Early Hints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .routes import TEXT, Environ, Headers, Recorded, Result, answer, argument, route


@route("/status/")
def status(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """`/status/204` without a body; `/status/204/body` is that with one all the same."""
    start_response(argument(environ) + " Something Special", [("X-Seen", "yes")])
    return []


@route("/status-with-body/")
def status_with_body(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response(argument(environ) + " With Body", [TEXT, ("Content-Length", "5")])
    return [b"body!"]


@route("/status-closing/")
def status_closing(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response(argument(environ) + " Closing", [TEXT])
    return Recorded(environ, [b"bo", b"dy"])


@route("/status-streamed/")
def status_streamed(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response(argument(environ) + " Streamed", [TEXT])
    yield b"bo"
    yield b"dy"


BAD_STATUS: dict[str, Any] = {
    "empty": "",
    "word": "abc",
    "two-digits": "20 OK",
    "four-digits": "2000 OK",
    "no-space": "200OK",
    "line-feed": "200 OK\nX-Injected: yes",
    "crlf": "200 OK\r\nX-Injected: yes",
    "null": "200 O\0K",
    "wide": "200 \u20ac",
    "bytes": b"200 OK",
    "number": 200,
}


@route("/status-alone/")
def status_alone(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """Three digits and no reason."""
    start_response(argument(environ), [TEXT])
    return [b"no reason"]


@route("/padded-length")
def padded_length(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, ("Content-Length", " \t6 ")])
    return Recorded(environ, [b"padded"])


@route("/bad-status/")
def bad_status(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response(BAD_STATUS[argument(environ)], [TEXT])
    return [b"sent all the same"]


BAD_HEADERS: dict[str, Any] = {
    "crlf": [("X-A", "b\r\nX-Injected: yes")],
    "line-feed": [("X-A", "b\nX-Injected: yes")],
    "carriage-return": [("X-A", "b\rX-Injected: yes")],
    "null": [("X-A", "b\0c")],
    "wide": [("X-A", "\u20ac")],
    "name-space": [("X A", "b")],
    "name-colon": [("X-A:", "b")],
    "name-crlf": [("X-A\r\nX-Injected", "b")],
    "name-empty": [("", "b")],
    "name-latin-1": [("X-\xe9", "b")],
    "name-bytes": [(b"X-A", "b")],
    "length-word": [("Content-Length", "many")],
    "length-negative": [("Content-Length", "-5")],
    "length-empty": [("Content-Length", "")],
    "length-sign": [("Content-Length", "+17")],
    "length-list": [("Content-Length", "17, 17")],
    "length-two": [("Content-Length", "17"), ("Content-Length", "5")],
    "value-bytes": [("X-A", b"b")],
    "value-number": [("X-A", 1)],
    "value-none": [("X-A", None)],
}


@route("/bad-header/")
def bad_header(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [("X-Leaked", "yes"), *BAD_HEADERS[argument(environ)]])
    return [b"sent all the same"]


@route("/bad-header-later")
def bad_header_later(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """The result exists before its unfit head does."""

    def blocks() -> Iterator[bytes]:
        start_response("200 OK", [("X-A", "b\r\nX-Injected: yes")])
        yield b"sent all the same"

    return Recorded(environ, blocks())


GOOD_HEADERS: dict[str, Headers] = {
    "latin-1": [("X-A", "caf\xe9")],
    "empty": [("X-A", "")],
    "tab": [("X-A", "a\tb")],
    "cookies": [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")],
    "own-date": [("Date", "Sun, 06 Nov 1994 08:49:37 GMT")],
    "own-server": [("Server", "conformance/1")],
    "hop-by-hop": [
        ("Connection", "close, X-A"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X-B"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("X-A", "stays"),
    ],
}


@route("/header/")
def header(environ: Environ, start_response: Callable[..., Any]) -> Result:
    start_response("200 OK", [TEXT, *GOOD_HEADERS[argument(environ)]])
    return [b"fine"]


@route("/early-hints")
def early_hints(environ: Environ, start_response: Callable[..., Any]) -> Result:
    hint = environ.get("wsgi.early_hints")
    if hint is not None:
        hint([("Link", "</style.css>; rel=preload"), ("Link", "</app.js>; rel=preload")])
    return answer(start_response, b"hinted" if hint is not None else b"no early hints")


@route("/unfit-hints")
def unfit_hints(environ: Environ, start_response: Callable[..., Any]) -> Result:
    environ["wsgi.early_hints"]([("Link", "</a>; rel=preload\r\nX-Injected: yes")])
    return answer(start_response, b"hinted all the same")


@route("/framed-hints")
def framed_hints(environ: Environ, start_response: Callable[..., Any]) -> Result:
    fields = [("Link", "</a>; rel=preload"), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    environ["wsgi.early_hints"](fields)
    return answer(start_response, b"hinted")


@route("/late-hints")
def late_hints(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """Hints after the head has gone: whatever the call does, no 103 may appear inside a body."""
    put = start_response("200 OK", [TEXT])
    put(b"head first, ")
    try:
        environ["wsgi.early_hints"]([("Link", "</late.css>; rel=preload")])
    except Exception:
        return [b"refused"]
    return [b"ignored"]
