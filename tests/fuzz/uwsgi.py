"""What holds for any bytes on a socket that speaks uwsgi: beside a reader of packets that is slow and simple.

An input is a stream as it is if it begins with a NUL, otherwise names and values of a packet (`NAME=VALUE`, a unit
separator between two), so that a change does not always break the sizes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from miniwsgi.daemon.engine.environ import PLACES
from miniwsgi.daemon.engine.uwsgi.connection import UwsgiConnection
from miniwsgi.daemon.http.connection import Parsing
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits

from tests.support.uwsgi import block, framed, packet, post, stock

BASE = {"SCRIPT_NAME": "", "SERVER_NAME": "own", "SERVER_PORT": "1", "REMOTE_ADDR": "", "wsgi.url_scheme": "http"}
LIMITS = Limits(request_line_bytes=120, field_bytes=150, fields=8, fields_bytes=700, body_max_bytes=50)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_CONTROL = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _as_text(data: bytes) -> bytes:
    names = stock()
    return b"\x1f".join(name + b"=" + value for name, value in names.items()) + b"\x1f" + data


UWSGI_SEEDS = (
    packet(), packet(target=b"/a?b=c", HTTP_COOKIE=b"a=b"), post(b"hello"), post(b"", b"/x"), packet()[:40],
    framed(b""), framed(block([(b"", b"")])), b"\0\0", packet() + packet(), post(b"hello")[:-2],
    *map(_as_text, (
        b"", b"HTTP_A=b", b"HTTP_A=b\x1fHTTP_A=c", b"SCRIPT_NAME=/shop", b"CONTENT_LENGTH=3\x1fabc", b"REQUEST_METHOD=",
        b"HTTP_TRANSFER_ENCODING=chunked", b"REMOTE_ADDR=::1", b"HTTP_HOST=a:b", b"wsgi.input=x", b"HTTPS=on",
        b"PATH_INFO=/\n", b"QUERY_STRING=\n", b"UWSGI_SCHEME=https", b"SERVER_NAME=~x", b"A=" + b"b" * 200,
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What has come of a stream: a refusal's status, or the request, its environ and body; or neither yet."""

    state: Parsing
    status: int = 0
    request: tuple[str, ...] = ()
    environ: tuple[tuple[str, Any], ...] = ()
    body: bytes = b""


def fed(pieces: list[bytes]) -> Seen:
    connection = UwsgiConnection(LIMITS, base=dict(BASE))
    connection.stranger = ""
    try:
        for piece in filter(None, pieces):
            connection.receive(piece)
    except ProtocolError as error:
        assert connection.state is Parsing.CLOSED
        return Seen(connection.state, error.status)
    line, head, body = connection.line, connection.head, connection.body
    if connection.state is not Parsing.ANSWERING:
        return Seen(connection.state)
    assert line is not None
    assert head is not None
    assert head.template is not None
    read = b"" if body is None else body.file().read()
    assert len(read) == head.length
    request = line.method, line.target, line.path, line.query
    return Seen(connection.state, 0, request, tuple(sorted(head.template.items())), read)


def variables_of(data: bytes) -> list[tuple[str, str]] | None:
    """A packet's, by the documentation's word; None: its sizes do not fit."""
    size = int.from_bytes(data[1:3], "little")
    rest, texts = data[4 : 4 + size], []
    while rest:
        length = int.from_bytes(rest[:2], "little")
        if len(rest) < 2 + length:
            return None
        texts.append(rest[2 : 2 + length].decode("latin-1"))
        rest = rest[2 + length :]
    return None if len(texts) % 2 else list(zip(texts[::2], texts[1::2], strict=True))


def uwsgi(data: bytes) -> None:
    """However it is cut it comes to the same, and a request has nothing in it that the packet may not say."""
    from .properties import cut

    stream = data if data[:1] in {b"\0", b""} else _stream_of(data)
    seen = fed([stream])
    assert fed(cut(stream)) == seen
    if seen.state is Parsing.ANSWERING:
        _is_right(seen, stream)


def _stream_of(data: bytes) -> bytes:
    pairs = [tuple(pair.partition(b"=")[::2]) for pair in data.split(b"\x1f")]
    return framed(block(pairs)[:65535]) + b"abc"  # type: ignore[arg-type]


def _is_right(seen: Seen, stream: bytes) -> None:
    assert stream[0] == stream[3] == 0
    sent = variables_of(stream)
    assert sent is not None, "sizes that do not fit"
    environ, (method, target, path, _query) = dict(seen.environ), seen.request
    assert {name for name in environ if "." in name and not name.startswith("HTTP_")} <= BASE.keys() | PLACES.keys()
    assert environ["wsgi.url_scheme"] in {"http", "https"}
    assert (environ.get("HTTPS") == "on") is (environ["wsgi.url_scheme"] == "https")
    for name, value in environ.items():
        assert _TOKEN.fullmatch(name), name
        if name.startswith(("HTTP_", "CONTENT_", "REMOTE_", "SERVER_")):
            assert _NO_CONTROL.fullmatch(value), (name, value)
        assert "\0" not in value
    assert not environ.keys() & {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"}
    assert _TOKEN.fullmatch(method)
    assert re.fullmatch(r"[^\x00-\x20\x7f#]+", target), target
    assert path[:1] == "/" or (path == "" and environ["SCRIPT_NAME"])
    if environ["REMOTE_ADDR"]:
        ipaddress.ip_address(environ["REMOTE_ADDR"])
    length = int(environ.get("CONTENT_LENGTH", "0"))
    assert seen.body == stream[4 + int.from_bytes(stream[1:3], "little") :][:length]
    for name in {name for name, _ in sent if name.startswith("HTTP_")} & environ.keys() - {"HTTP_HOST"}:
        joint = "; " if name == "HTTP_COOKIE" else ", "
        assert environ[name] == joint.join(value for other, value in sent if other == name)
