"""Scrapes of a daemon's metrics for tests, on a Unix socket of the test's own."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.control import Answer, UnixConnection

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
Series = dict[str, float]  # 'name{label="value",…}', labels in order, to its value


class Metrics:
    """The metrics port of a daemon that was started with `argument`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.sock"
        self.arguments = ("--metrics-bind", f"unix:{self.path}")

    def get(self, target: str, **fields: str) -> Answer:
        """Raises OSError, http.client.HTTPException."""
        connection = UnixConnection(self.path)
        try:
            connection.request("GET", target, headers={name.replace("_", "-"): value for name, value in fields.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

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


def requests(series: Series) -> float:
    """How many requests were answered, whatever their labels."""
    return sum(value for name, value in series.items() if name.startswith("http_server_request_duration_seconds_count"))
