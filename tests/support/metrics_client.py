"""A client of the metrics port for tests on real daemons: a connection a request, on TCP or on a Unix socket."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.control import Answer, UnixConnection
from tests.support.daemon import Daemon
from tests.support.waiting import PATIENCE_SECONDS

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
Series = dict[str, float]  # 'name{label="value",…}', labels in order, to its value


class Port:
    """The metrics port of a daemon: a socket's path, an address, or a port of 127.0.0.1."""

    def __init__(self, where: Path | tuple[str, int] | int) -> None:
        self.where = ("127.0.0.1", where) if isinstance(where, int) else where

    def get(self, path: str, method: str = "GET", **fields: str) -> Answer:
        """The answer to a request. Raises OSError, http.client.HTTPException."""
        connection: http.client.HTTPConnection
        if isinstance(self.where, Path):
            connection = UnixConnection(self.where)
        else:
            connection = http.client.HTTPConnection(*self.where, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in fields.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    # --- health -----------------------------------------------------------------------------------

    def statuses(self) -> tuple[int, int, int]:
        """Of /livez, /startupz and /readyz."""
        live, started, ready = (self.get(path).status for path in ("/livez", "/startupz", "/readyz"))
        return live, started, ready

    def reason(self) -> str:
        """Why it is not ready; "" if it is."""
        answer = self.get("/readyz")
        assert (answer.status == 200) == (answer["status"] == "ready"), answer
        return str(answer.json.get("reason", ""))

    # --- metrics ----------------------------------------------------------------------------------

    def scrape(self) -> Series:
        """Every series, as OpenMetrics' own parser reads it."""
        return self.counted()[0]

    def counted(self) -> tuple[Series, set[str]]:
        """Every series, and which of them may only grow."""
        answer = self.get("/metrics", Accept=OPENMETRICS)
        assert answer.status == 200, answer
        found: Series = {}
        growing = set()
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                series = f"{sample.name}{{{labels}}}" if labels else sample.name
                assert series not in found, f"{series} is there twice"
                found[series] = sample.value
                if family.type in {"counter", "histogram"}:
                    growing.add(series)
        return found, growing

    def total(self, name: str) -> float:
        """The sum of what is called so, over its labels."""
        return total(self.scrape(), name)


class Metrics(Port):
    """That of a daemon which was started with `arguments`."""

    def __init__(self, directory: Path) -> None:
        path = directory / "metrics.sock"
        super().__init__(path)
        self.arguments = ("--metrics-bind", f"unix:{path}")


def port_of(daemon: Daemon) -> Port:
    """Where the log says it is, of a daemon that was given a TCP address with port 0."""
    found = re.search(r"metrics and health are on http://[^\s]*:(\d+)$", daemon.log(), re.MULTILINE)
    assert found is not None, daemon.log()
    return Port(int(found[1]))


def total(series: Series, name: str) -> float:
    """The sum of what is called so, over its labels. Raises AssertionError if there is none."""
    values = [value for key, value in series.items() if key.partition("{")[0] == name]
    assert values, f"no {name} among the metrics"
    return sum(values)


def requests(series: Series) -> float:
    """How many requests were answered, whatever their labels."""
    return sum(value for name, value in series.items() if name.startswith("http_server_request_duration_seconds_count"))
