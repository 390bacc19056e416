"""The built-in application: a page that shows which worker answered, and a few paths to try a server with.

`miniwsgi.daemon.demo:application` assumes nothing but PEP 3333 and the standard library; what it knows of the
server it reads from `miniwsgi.*` in the environ. Promises: what comes from the request is escaped or sent as
plain text, and a value out of range is a 400.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., object]
Headers = list[tuple[str, str]]

PIECE_BYTES = 64 * 1024
FILLER = (b"0123456789abcdef" * 3 + b"0123456789abcde\n") * (PIECE_BYTES // 64)
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

_answered = itertools.count(1)  # next() is atomic: threads share it
_forked_at = os.getpid()


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    number = _count()
    path = environ.get("PATH_INFO") or "/"
    method = environ["REQUEST_METHOD"]
    route = ROUTES.get(path)
    if route is None:
        return _text(environ, start_response, "404 Not Found", "there is nothing here: try /\n")
    if method not in ("GET", "HEAD") and path != "/echo":
        allow = [("Allow", "GET, HEAD")]
        return _text(environ, start_response, "405 Method Not Allowed", "GET and HEAD only\n", allow)
    try:
        return route(environ, start_response, number)
    except BadValue as error:
        return _text(environ, start_response, "400 Bad Request", f"{error}\n")


def _count() -> int:
    """The number of this request among those of this process."""
    global _answered, _forked_at  # a forked worker counts from one
    if _forked_at != os.getpid():
        _answered, _forked_at = itertools.count(1), os.getpid()
    return next(_answered)


# --- paths --------------------------------------------------------------------------------------------------


def _home(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    return _page(environ, start_response, "miniwsgi", _HOME % {"facts": _rows(_facts(environ, number))})


def _json(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    body = json.dumps(_facts(environ, number), indent=2).encode() + b"\n"
    return _whole(environ, start_response, "200 OK", body, [("Content-Type", "application/json")])


def _sleep(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    milliseconds = _number(environ, "ms", default=250, largest=60_000)
    time.sleep(milliseconds / 1000)
    return _text(environ, start_response, "200 OK", f"slept {milliseconds} ms in process {os.getpid()}\n")


def _echo(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    """The request's body as it came; without one, a page of the request's fields."""
    if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        request = {key: _shown(environ[key]) for key in _REQUEST_KEYS if environ.get(key)}
        request["REQUEST_METHOD"] = "GET"  # HEAD describes the answer to GET
        fields = {
            key.removeprefix("HTTP_").replace("_", "-").title(): _shown(value)
            for key, value in sorted(environ.items())
            if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
        }
        return _page(environ, start_response, "echo", _ECHO % {"request": _rows(request), "fields": _rows(fields)})
    # Never the client's content type: a page elsewhere could have a form send HTML here.
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        headers.append(("Content-Length", str(int(length))))
        left = int(length)
    else:
        left = -1 if environ.get("wsgi.input_terminated") else 0
    start_response("200 OK", headers)
    return _body(environ["wsgi.input"], left)


def _body(stream: Any, left: int) -> Iterator[bytes]:
    """What `stream` holds, at most `left` bytes, to its end if that is negative."""
    while left:
        piece = stream.read(PIECE_BYTES if left < 0 else min(left, PIECE_BYTES))
        if not piece:
            return
        if left > 0:
            left -= len(piece)
        yield piece


def _stream(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    lines = _number(environ, "lines", default=10, largest=1000)
    milliseconds = _number(environ, "ms", default=200, largest=10_000)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else _lines(lines, milliseconds / 1000)


def _lines(lines: int, pause: float) -> Iterator[bytes]:
    for line in range(1, lines + 1):
        if line > 1:
            time.sleep(pause)
        yield f"line {line} of {lines} from process {os.getpid()}\n".encode()


def _big(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    size = _number(environ, "kb", default=100, largest=100 * 1024) * 1024
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(size))]
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else _filler(size)


def _filler(size: int) -> Iterator[bytes]:
    while size > 0:
        yield FILLER[:size]
        size -= PIECE_BYTES


def _error(environ: Environ, start_response: StartResponse, number: int) -> Iterable[bytes]:
    raise RuntimeError("this is what the /error of the demo is for: the traceback is in the error log")


ROUTES: dict[str, Callable[[Environ, StartResponse, int], Iterable[bytes]]] = {
    "/": _home,
    "/json": _json,
    "/sleep": _sleep,
    "/echo": _echo,
    "/stream": _stream,
    "/big": _big,
    "/error": _error,
}


# --- what is known ------------------------------------------------------------------------------------------


def _facts(environ: Environ, number: int) -> dict[str, object]:
    """What the page shows, in its order."""
    return {
        "worker": os.getpid(),
        "slot": environ.get("miniwsgi.slot"),
        "pool": environ.get("miniwsgi.pool"),
        "generation": environ.get("miniwsgi.generation"),
        "threads": bool(environ.get("wsgi.multithread")),
        "requests": number,
        "uptime_seconds": round(_uptime(), 1),
        "python": platform.python_version(),
        "server": environ.get("SERVER_SOFTWARE"),
    }


def _uptime() -> float:
    """Seconds since this process was made (proc(5), /proc/pid/stat, field 22: ticks since boot)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


# --- requests -----------------------------------------------------------------------------------------------


class BadValue(ValueError):
    """A query value that cannot be used; the message says what was expected."""


def _number(environ: Environ, name: str, default: int, largest: int) -> int:
    values = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).get(name)
    if values is None:
        return default
    text = values[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= largest):
        raise BadValue(f"{name} must be a whole number from 0 to {largest}")
    return int(text)


_REQUEST_KEYS = (
    "REQUEST_METHOD",
    "RAW_URI",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
)


def _shown(value: object) -> str:
    """A value of the environ, which holds bytes as latin-1, as what was probably meant."""
    return str(value).encode("latin-1", "replace").decode("utf-8", "replace")


# --- responses ----------------------------------------------------------------------------------------------


def _whole(
    environ: Environ, start_response: StartResponse, status: str, body: bytes, headers: Headers
) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _text(
    environ: Environ, start_response: StartResponse, status: str, text: str, headers: Headers | None = None
) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), *(headers or [])]
    return _whole(environ, start_response, status, text.encode(), headers)


def _page(environ: Environ, start_response: StartResponse, title: str, main: str) -> Iterable[bytes]:
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", PAGE_POLICY)]
    body = (_PAGE % {"title": escape(title), "style": _STYLE, "main": main}).encode()
    return _whole(environ, start_response, "200 OK", body, headers)


def _rows(facts: dict[str, Any]) -> str:
    """A description list's rows; the one place where a value becomes HTML."""
    rows = []
    for name, value in facts.items():
        label = name.replace("_seconds", ", s") if name.islower() else name
        text = "–" if value is None else "yes" if value is True else "no" if value is False else str(value)
        rows.append(f"<div><dt>{escape(label)}</dt><dd>{escape(text)}</dd></div>")
    return "\n".join(rows)


_STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f1; --card: #fff; --ink: #1c2024; --soft: #667079;
  --line: #e2e0d8; --accent: #0b6e5c; --tint: #e3f1ed; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --card: #1c2125; --ink: #e7e9ea;
  --soft: #98a2aa; --line: #2d343a; --accent: #62c9b2; --tint: #1b302c; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif;
  padding: clamp(1.5rem, 6vh, 4.5rem) 1.25rem; }
main { max-width: 46rem; margin: 0 auto; display: grid; gap: 1.75rem; }
h1 { font-size: 2rem; letter-spacing: -.02em; line-height: 1.2; }
h1 small { display: block; font-size: 1rem; font-weight: 400; letter-spacing: 0; color: var(--soft);
  margin-top: .35rem; }
h2 { font-size: .8rem; font-weight: 600; letter-spacing: .08em; text-transform: uppercase;
  color: var(--soft); margin-bottom: .6rem; }
dl, ul { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; overflow: hidden;
  padding: 0; list-style: none; }
dl.facts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1px; background: var(--line); }
dl.facts div { background: var(--card); padding: .8rem 1rem; }
dt { color: var(--soft); font-size: .8rem; }
dl.facts dd { font-size: 1.2rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dl.fields div { display: grid; grid-template-columns: minmax(8rem, 12rem) 1fr; gap: .25rem 1rem;
  padding: .55rem 1rem; align-items: baseline; }
dl.fields dd { font: .875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
dl.fields div + div, li + li { border-top: 1px solid var(--line); }
li { display: grid; grid-template-columns: minmax(8rem, 12rem) 1fr; gap: .25rem 1rem; padding: .55rem 1rem;
  align-items: baseline; }
a { color: var(--accent); text-decoration: none; font-family: ui-monospace, monospace; font-size: .9rem; }
a:hover, a:focus-visible { text-decoration: underline; }
li span, footer { color: var(--soft); font-size: .9rem; }
code { font: .85rem ui-monospace, monospace; background: var(--tint); border-radius: .3rem; padding: .1rem .35rem; }
@media (max-width: 32rem) { li, dl.facts, dl.fields div { grid-template-columns: 1fr; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<style>%(style)s</style>
</head>
<body>
<main>
%(main)s
</main>
</body>
</html>
"""

_HOME = """<h1>It works.
<small>miniwsgi serves its built-in demo. Load the page again: another worker may answer.</small></h1>
<section>
<h2>Who answered</h2>
<dl class="facts">
%(facts)s
</dl>
</section>
<section>
<h2>Things to try</h2>
<ul>
<li><a href="sleep?ms=250">/sleep?ms=250</a><span>an answer that takes its time</span></li>
<li><a href="stream">/stream</a><span>ten lines, one every 200 ms; <code>?lines=&amp;ms=</code></span></li>
<li><a href="echo">/echo</a><span>the request as the application sees it; POST returns the body</span></li>
<li><a href="big?kb=100">/big?kb=100</a><span>a large response</span></li>
<li><a href="json">/json</a><span>this page for programs</span></li>
<li><a href="error">/error</a><span>an exception: 500, and a traceback in the log</span></li>
</ul>
</section>
<footer>Your own application: <code>miniwsgi serve package.module:application</code></footer>"""

_ECHO = """<h1>Echo<small>Your request as the application sees it.</small></h1>
<section>
<h2>Request</h2>
<dl class="fields">
%(request)s
</dl>
</section>
<section>
<h2>Fields</h2>
<dl class="fields">
%(fields)s
</dl>
</section>
<p><a href="./">back</a></p>"""
