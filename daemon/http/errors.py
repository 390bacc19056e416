"""What can be wrong with a request, and the answer that the server gives by itself.

Every error says its status, and in `detail` what was wrong: for the log, never for the client, because nothing of a
request is echoed back.
"""

from __future__ import annotations

import re

REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
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

    def __init__(self, status: int, detail: str, limit: str = "") -> None:
        """`limit` names what the request exceeds, as the server's settings do; "" if it breaks a rule instead."""
        super().__init__(f"{status} {REASONS[status]}: {detail}")
        self.status = status
        self.detail = detail
        self.limit = limit


# What else is sent to an HTTP port, by its first bytes: the record header of a TLS handshake (RFC 8446 section 5.1) and
# the PROXY protocol's two headers (haproxy.org, proxy-protocol.txt, section 2). Version 2 begins with two empty lines.
_TLS = re.compile(rb"\x16(?:\x03|$)")
_PROXY_1 = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)\b")
_PROXY_2 = re.compile(rb"\x00(?:\r\nQUIT\n|$)")
_PROXY_REMEDY = "it has to be turned off in the proxy, whose X-Forwarded-For is believed if proxy.trusted names it"


def other_protocol(data: bytes, empty_lines: int) -> str:
    """Which other protocol a client speaks, and what is to be done; "" if that cannot be told.

    `data` is what stands where a request line should, behind so many empty lines.
    """
    if _TLS.match(data):
        return "these bytes are TLS, but this port speaks HTTP: a proxy in front has to end TLS, or the URL be http://"
    if _PROXY_1.match(data):
        return f"these bytes are a PROXY protocol header (version 1): {_PROXY_REMEDY}"
    if empty_lines == _PROXY_2_EMPTY_LINES and _PROXY_2.match(data):
        return f"these bytes are a PROXY protocol header (version 2): {_PROXY_REMEDY}"
    return ""


_PROXY_2_EMPTY_LINES = 2
