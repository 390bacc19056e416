"""A socket that passes everything on to a daemon's control socket, and tells what a client has asked for.

So a test knows how far a client has come that says nothing: it asks for its next thing only when it has read what
the last one brought.
"""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

_REQUEST = re.compile(rb"^(?:GET|POST|PUT) \S+ HTTP/1\.1\r$", re.MULTILINE)


class Relay:
    """A context: clients come to `listener`. When either side closes a connection, so does it on the other one."""

    def __init__(self, listener: socket.socket, daemon_path: Path) -> None:
        self._daemon_path = daemon_path
        self._sent = b""
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @classmethod
    def at(cls, path: Path, daemon_path: Path) -> Relay:
        """One that listens on a Unix socket."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(16)
        return cls(listener, daemon_path)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def asked(self, target: str) -> bool:
        """Whether the client has sent a request whose line begins so: method and target."""
        return any(line.startswith(target.encode()) for line in _REQUEST.findall(self._sent))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._daemon_path))
            except OSError:
                client.close()
                server.close()
                continue
            for pair in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, client: bool) -> None:
        try:
            while data := source.recv(65536):
                if client:
                    self._sent += data
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other direction was faster
