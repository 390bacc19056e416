"""Of a packet's variables what HTTP has of a head: request line, length of the body, what the environ begins with.

They are the meta-variables of CGI (RFC 3875 section 4.1), as nginx's `uwsgi_params` has them. Whoever may speak uwsgi
at all is trusted: it says who the client is, and by which URL it asks.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import quote

from ...http import errors
from ...http.errors import ProtocolError
from ...http.head import (
    Head,
    Known,
    Limits,
    RequestLine,
    content_length,
    is_method,
    is_target,
    is_upgrade,
    knows_host,
    unescape,
)
from ...unpatched import socket
from ..environ import PLACES
from ..proxy import is_port

_PROTOCOL = re.compile(r"HTTP/[0-9](?:\.[0-9])?")
_CGI = "RFC 3875 section 4.1"
_OWN = frozenset({"SERVER_SOFTWARE", "RAW_URI"})  # not a proxy's to say
# Segments, each behind its slash; of what a browser, or an application's router, would make another path.
_NOT_IN_PREFIX = re.compile(r"[\x00-\x1f\x7f\\]|//|/\.{1,2}(?:/|\Z)")
_UNSAFE_KEPT = "/!$&'()*+,;=:@-._~"  # in a path (RFC 3986 section 3.3)
_HTTPS = frozenset({"on", "1", "https"})
_SCHEMES = frozenset({"http", "https"})


class PacketHead(Head):
    """What `http.head.Head` says, of a packet. Its `template` is complete.

    `http11` and `persistent` are those of a client of HTTP/1.0 that wants the connection to end: no chunks, no 1xx,
    whatever the proxy's own client speaks. SERVER_PROTOCOL says what that is.
    """

    __slots__ = ()

    def __init__(self, environ: dict[str, Any], length: int, *, upgrade: bool) -> None:
        self.raw = b""
        self.fields = self.template = environ
        self.http11 = self.persistent = self.chunked = self.expects_continue = False
        self.length = length
        self.upgrade = upgrade


def read_request(
    variables: dict[str, str], base: dict[str, Any], limits: Limits, known: Known
) -> tuple[RequestLine, PacketHead]:
    """Raises ProtocolError (400, 411, 413, 414, 501). `variables` are used up; `base` is what the connection knows."""
    take = variables.pop
    protocol = take("SERVER_PROTOCOL", "") or "HTTP/1.0"
    if not _PROTOCOL.fullmatch(protocol):
        raise ProtocolError(400, "SERVER_PROTOCOL is no version of HTTP", _CGI)
    line = _line(variables, protocol, limits)
    host = variables.get("HTTP_HOST")
    if host is not None and not knows_host(host, known):
        raise ProtocolError(400, "invalid Host", "RFC 9112 section 3.2")
    length = _body_bytes(variables, limits)
    scheme = _scheme(variables)
    environ = {**base, **PLACES}
    environ["SERVER_PROTOCOL"] = protocol
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = _client(take("REMOTE_ADDR", ""), take("REMOTE_PORT", ""))
    if (name := take("SERVER_NAME", "")) and knows_host(name, known):  # it may be a pattern (nginx: server_name ~…)
        environ["SERVER_NAME"] = name
    if is_port(port := take("SERVER_PORT", "")):
        environ["SERVER_PORT"] = port
    for name in _OWN:
        take(name, None)
    environ.update(variables)
    if scheme:
        environ["wsgi.url_scheme"] = scheme
        if scheme == "https":
            environ["HTTPS"] = "on"  # PEP 3333, "environ Variables"
    upgrade = not length and protocol == "HTTP/1.1" and is_upgrade(environ, known)
    return line, PacketHead(environ, length, upgrade=upgrade)


def _line(variables: dict[str, str], protocol: str, limits: Limits) -> RequestLine:
    """Which request it is. SCRIPT_NAME stays among the variables."""
    take = variables.pop
    method, target, query = take("REQUEST_METHOD", ""), take("REQUEST_URI", ""), take("QUERY_STRING", None)
    if not is_method(method):
        raise ProtocolError(400, "REQUEST_METHOD is no token" if method else "no REQUEST_METHOD", _CGI)
    if method == "CONNECT":
        raise ProtocolError(501, "CONNECT: this is not a proxy", "RFC 9110 section 9.3.6")
    size = len(method) + len(target) + len(protocol) + 2
    path = take("PATH_INFO", "")
    if max(size, len(path), len(query or "")) > limits.request_line_bytes:
        raise errors.line_too_long(max(size, len(path), len(query or "")))
    if target and not is_target(target):
        raise ProtocolError(400, "a byte in REQUEST_URI that no request target has", "RFC 9112 section 3.2")
    prefix = variables["SCRIPT_NAME"] = _prefix(variables.get("SCRIPT_NAME", ""))
    if not path and not prefix:
        path = unescape(target.partition("?")[0])
    if path and path[0] != "/":
        raise ProtocolError(400, "neither PATH_INFO nor REQUEST_URI begins with /", _CGI)
    if not path and not prefix:
        raise ProtocolError(400, "neither REQUEST_URI nor PATH_INFO", _CGI)
    if query is None:
        query = target.partition("?")[2]
    if not target:
        target = quote(prefix + path, _UNSAFE_KEPT, "latin-1") + (f"?{query}" if query else "")
    # nginx has the whole path in PATH_INFO, also where it is told a SCRIPT_NAME
    if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
        path = path[len(prefix) :]
    text = f"{method} {target} {protocol}".encode("latin-1")
    return RequestLine(text, method, target, path, query, http11=False, authority=None)


def _prefix(script_name: str) -> str:
    prefix = script_name.rstrip("/")
    if prefix and (prefix[0] != "/" or _NOT_IN_PREFIX.search(prefix)):
        raise ProtocolError(400, "SCRIPT_NAME is no prefix of a path", _CGI)
    return prefix


def _body_bytes(variables: dict[str, str], limits: Limits) -> int:
    """A packet's body is never chunked: of a client's chunks nginx makes a length, and leaves their field in place."""
    chunked = variables.pop("HTTP_TRANSFER_ENCODING", None) is not None
    variables.pop("HTTP_TRAILER", None)
    length = variables.get("CONTENT_LENGTH")
    if length is None and chunked:
        raise ProtocolError(411, "a body, of which no CONTENT_LENGTH says where it ends", "RFC 9110 section 15.5.12")
    for name in ("CONTENT_LENGTH", "CONTENT_TYPE"):  # nginx says "" where there is none
        if not variables.get(name):
            variables.pop(name, None)
    return content_length(length, limits) if length else 0


def _scheme(variables: dict[str, str]) -> str:
    """The scheme of the client's URL; "" if it is not told. UWSGI_SCHEME is uWSGI's name for it."""
    https = "https" if variables.pop("HTTPS", "").lower() in _HTTPS else ""
    told = variables.get("UWSGI_SCHEME"), https, variables.get("REQUEST_SCHEME")
    return next((scheme for scheme in told if scheme in _SCHEMES), "")


def _client(address: str, port: str) -> tuple[str, str]:
    """REMOTE_ADDR and REMOTE_PORT; "" for a client of a Unix socket, of which nginx says "unix:"."""
    if address in {"", "unix:"}:
        return "", ""
    if port and not is_port(port):
        raise ProtocolError(400, "REMOTE_PORT is no port", _CGI)
    try:
        socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        address = _ipv6(address)
    return address, port


def _ipv6(address: str) -> str:
    try:
        if "%" in address:  # a scope means nothing elsewhere, and ipaddress takes any text for one
            raise ValueError
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        raise ProtocolError(400, "REMOTE_ADDR is no IP address", _CGI) from None
    return str(parsed.ipv4_mapped or parsed)
