"""Clients that ask and ask until they are told to stop: `python3 steady_client.py ADDRESS...`, run in the lab.

ADDRESS is HOST:PORT or the path of a Unix socket. Each has two clients: one makes a connection for each request, one
keeps its own. "begun" is printed when all have had an answer; at the end of standard input each makes some more
requests, and what came of all of them is printed as JSON: {address: {"answered": number, "failed": [what, ...]}}.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time

ANSWER_SECONDS = 90  # a request may wait while its service restarts; it may not be refused or cut off
AT_THE_END = 20  # requests
PAUSE_SECONDS = 0.003
SILENCE_SECONDS = 1.0  # a server may close a connection that was silent so long; the request is then made again


class Connection(http.client.HTTPConnection):
    def __init__(self, address: str) -> None:
        super().__init__("lab", timeout=ANSWER_SECONDS)
        self.address = address

    def connect(self) -> None:
        if self.address.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.connect(self.address)
        else:
            host, _, port = self.address.rpartition(":")
            self.sock = socket.create_connection((host, int(port)), ANSWER_SECONDS)


class Client(threading.Thread):
    def __init__(self, address: str, keeps: bool, ends: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.keeps, self.ends = address, keeps, ends
        self.answered = 0
        self.failed: list[str] = []
        self.begun = threading.Event()

    def run(self) -> None:
        connection = Connection(self.address)
        last_answer, more = time.monotonic(), AT_THE_END
        while more:
            more -= self.ends.is_set()
            if not self.keeps:
                connection.close()
            is_reused, since = connection.sock is not None, time.monotonic() - last_answer
            try:
                self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_reused and since > SILENCE_SECONDS and isinstance(error, ConnectionError):
                    continue
                self.failed.append(f"{'kept' if is_reused else 'new'} connection: {error!r}")
            last_answer = time.monotonic()
            self.begun.set()
            time.sleep(PAUSE_SECONDS)
        connection.close()

    def _ask(self, connection: Connection) -> None:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        if response.status == 200 and body:
            self.answered += 1
        else:
            self.failed.append(f"{response.status} {body!r}")


def main() -> None:
    ends = threading.Event()
    clients = [Client(address, keeps, ends) for address in sys.argv[1:] for keeps in (False, True)]
    for client in clients:
        client.start()
    for client in clients:
        client.begun.wait()
    print("begun", flush=True)
    sys.stdin.read()
    ends.set()
    found: dict[str, dict[str, object]] = {}
    for client in clients:
        client.join()
    for address in sys.argv[1:]:
        own = [client for client in clients if client.address == address]
        found[address] = {
            "answered": sum(client.answered for client in own),
            "failed": [text for client in own for text in client.failed],
        }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
