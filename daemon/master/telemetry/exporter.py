"""/metrics: the daemon's families, with the application's own behind them."""

from __future__ import annotations

from miniwsgi.metrics.collector import Collector
from miniwsgi.metrics.exposition import Format, render
from miniwsgi.metrics.families import Family

from ..running.master import Master
from .measuring import Measuring
from .merging import AppMetrics


class Exporter:
    """Answers scrapes. Reads memory, and touches no worker."""

    def __init__(self, master: Master, measuring: Measuring, app_metrics: AppMetrics) -> None:
        self._master = master
        self._measuring = measuring
        self._app_metrics = app_metrics
        self._collector = Collector(master.fleet.board)

    def __repr__(self) -> str:
        return f"<Exporter {self._collector}>"

    def families(self) -> list[Family]:
        """The daemon's own."""
        return self._collector.collect(self._measuring.facts(), fine=self._master.config.metrics.fine_buckets)

    async def answer(self, format_: Format) -> bytes:
        """What there is to scrape."""
        more = await self._app_metrics.merged(format_ is Format.OPENMETRICS)
        return render(self.families(), format_, more)
