"""The starting point: the standard library's own HTTP server, without WSGI: stdlib_http.py PORT.

One process, one request at a time, HTTP/1.0: each response ends with its connection.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

BODY = b"Hello, world!\n"


class Hello(BaseHTTPRequestHandler):
    """Answers every GET alike, and logs nothing, as the others do not."""

    def do_GET(self) -> None:
        """Called by the server for each GET."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Called for each line of the log."""


class Server(HTTPServer):
    """With room for those who wait: by default 5, and the sixth would try again after a second."""

    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Called when a client has left in the middle, as the load does at its end."""


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Hello).serve_forever()
