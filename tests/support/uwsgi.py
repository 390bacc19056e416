"""Packets of the uwsgi protocol, as nginx makes them and as nobody should."""

from __future__ import annotations

import struct
from collections.abc import Iterable

Variables = Iterable[tuple[bytes, bytes]]


def block(variables: Variables) -> bytes:
    """Names and values, each behind its size."""
    return b"".join(struct.pack("<H", len(text)) + text for pair in variables for text in pair)


def framed(body: bytes, modifier1: int = 0, modifier2: int = 0, size: int | None = None) -> bytes:
    """A packet of whatever bytes; `size`: another one than they have."""
    return struct.pack("<BHB", modifier1, len(body) if size is None else size, modifier2) + body


def stock(method: bytes = b"GET", target: bytes = b"/", **others: bytes | None) -> dict[bytes, bytes]:
    """What nginx's uwsgi_params and a client's Host come to; `others` by their names, None: not at all."""
    path, _, query = target.partition(b"?")
    variables: dict[bytes, bytes | None] = {
        b"QUERY_STRING": query,
        b"REQUEST_METHOD": method,
        b"CONTENT_TYPE": b"",
        b"CONTENT_LENGTH": b"",
        b"REQUEST_URI": target,
        b"PATH_INFO": path,
        b"DOCUMENT_ROOT": b"/usr/share/nginx/html",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"REQUEST_SCHEME": b"http",
        b"REMOTE_ADDR": b"192.0.2.1",
        b"REMOTE_PORT": b"4711",
        b"SERVER_PORT": b"80",
        b"SERVER_NAME": b"shop.example",
        b"HTTP_HOST": b"shop.example",
    }
    variables.update({name.encode(): value for name, value in others.items()})
    return {name: value for name, value in variables.items() if value is not None}


def packet(method: bytes = b"GET", target: bytes = b"/", *more: tuple[bytes, bytes], **others: bytes | None) -> bytes:
    """The stock variables, and `more` behind them, which may come again."""
    return framed(block([*stock(method, target, **others).items(), *more]))


def post(body: bytes, target: bytes = b"/", *more: tuple[bytes, bytes], **others: bytes | None) -> bytes:
    """A packet and its body."""
    length = str(len(body)).encode()
    return packet(b"POST", target, *more, **{"CONTENT_LENGTH": length, **others}) + body
