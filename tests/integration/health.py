"""A client of the metrics port for tests on real daemons: a connection a request, on TCP or on a Unix socket."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

from tests.support.control import Answer, UnixConnection
from tests.support.daemon import Daemon
from tests.support.waiting import PATIENCE_SECONDS


class Port:
    """The metrics port of a daemon: a socket's path, or an address."""

    def __init__(self, where: Path | tuple[str, int]) -> None:
        self.where = where

    def get(self, path: str, method: str = "GET", **fields: str) -> Answer:
        """The answer to a request. Raises OSError, http.client.HTTPException."""
        connection: http.client.HTTPConnection
        if isinstance(self.where, Path):
            connection = UnixConnection(self.where, PATIENCE_SECONDS)
        else:
            connection = http.client.HTTPConnection(*self.where, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in fields.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def statuses(self) -> tuple[int, int, int]:
        """Of /livez, /startupz and /readyz."""
        live, started, ready = (self.get(path).status for path in ("/livez", "/startupz", "/readyz"))
        return live, started, ready

    def reason(self) -> str:
        """Why it is not ready; "" if it is."""
        answer = self.get("/readyz")
        assert (answer.status == 200) == (answer["status"] == "ready"), answer
        return str(answer.json.get("reason", ""))


def port_of(daemon: Daemon) -> Port:
    """Where the log says it is, of a daemon that was given a TCP address with port 0."""
    found = re.search(r"metrics and health are on http://[^\s]*:(\d+)$", daemon.log(), re.MULTILINE)
    assert found is not None, daemon.log()
    return Port(("127.0.0.1", int(found[1])))
