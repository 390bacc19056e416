"""What can be wrong with a request, and the answer that the server gives by itself.

Every error says its status, and in `detail` and `section` what was wrong and by which rule: for the log, never for the
client, because nothing of a request is echoed back.
"""

from __future__ import annotations

import re

REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class ProtocolError(Exception):
    """The bytes of a client are not a request that this server takes; the connection closes after the answer."""

    def __init__(self, status: int, detail: str, section: str, limit: str = "") -> None:
        """`section` has the rule that the request breaks, or the status for what exceeds a limit of this server.

        `limit` names that limit, as the server's settings do; "" if there is none.
        """
        super().__init__(f"{status} {REASONS[status]}: {detail} ({section})")
        self.status = status
        self.detail = detail
        self.section = section
        self.limit = limit


# Refusals that several places decide on.


def bare_line_end() -> ProtocolError:
    return ProtocolError(400, "bare CR or bare LF in the head", "RFC 9112 section 2.2")


def line_too_long(size: int | str) -> ProtocolError:
    return ProtocolError(414, f"a request line of {size} bytes", "RFC 9110 section 15.5.15", "request_line_bytes")


def field_too_large(limit_bytes: int) -> ProtocolError:
    return ProtocolError(431, f"a field of more than {limit_bytes} bytes", "RFC 6585 section 5", "field_bytes")


def fields_too_large(size: int | str) -> ProtocolError:
    return ProtocolError(431, f"fields of {size} bytes", "RFC 6585 section 5", "fields_bytes")


def body_too_large(detail: str) -> ProtocolError:
    return ProtocolError(413, detail, "RFC 9110 section 15.5.14", "body_max_bytes")


def head_too_late() -> ProtocolError:
    return ProtocolError(408, "the head did not come in time", "RFC 9110 section 15.5.9", "head_timeout")


def body_too_slow() -> ProtocolError:
    return ProtocolError(408, "the body comes too slowly", "RFC 9110 section 15.5.9", "minimum_rate")


# What else is sent to an HTTP port, by its first bytes: the record header of a TLS handshake (RFC 8446 section 5.1) and
# the PROXY protocol's two headers (haproxy.org, proxy-protocol.txt, section 2). Version 2 begins with two empty lines.
_TLS = re.compile(rb"\x16(?:\x03|$)")
_PROXY_1 = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)\b")
_PROXY_2 = re.compile(rb"\x00(?:\r\nQUIT\n|$)")
# A packet of uwsgi (uWSGI's documentation, "The uwsgi Protocol"): modifier1 0, a size, modifier2 0, then the size of a
# variable's name, and the beginning of it
_UWSGI = re.compile(rb"\x00..\x00.\x00[A-Z_a-z]", re.DOTALL)
_UWSGI_REMEDY = 'proxy_pass instead of uwsgi_pass in nginx, or "uwsgi:" before the address in server.bind'
_PROXY_REMEDY = "proxy_protocol = true for the address in server.bind, or turn it off in the proxy"


def other_protocol(data: bytes, empty_lines: int) -> str:
    """Which other protocol a client speaks, and what is to be done; "" if that cannot be told.

    `data` is what stands where a request line should, behind so many empty lines.
    """
    if _TLS.match(data):
        return "these bytes are TLS, but this port speaks HTTP: a proxy in front has to end TLS, or the URL be http://"
    if _PROXY_1.match(data):
        return f"these bytes are a PROXY protocol header (version 1): {_PROXY_REMEDY}"
    if _UWSGI.match(data):
        return f"these bytes are uwsgi, but this port speaks HTTP: {_UWSGI_REMEDY}"
    if empty_lines == _PROXY_2_EMPTY_LINES and _PROXY_2.match(data):
        return f"these bytes are a PROXY protocol header (version 2): {_PROXY_REMEDY}"
    return ""


_PROXY_2_EMPTY_LINES = 2
