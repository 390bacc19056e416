"""What can be wrong with a request, and the answer that the server gives by itself.

Every error says its status, and in `detail` what was wrong: for the log, never for the client, because nothing of a
request is echoed back.
"""

from __future__ import annotations

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

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status} {REASONS[status]}: {detail}")
        self.status = status
        self.detail = detail
