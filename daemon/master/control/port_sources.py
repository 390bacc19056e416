"""Where the metrics port's answers come from."""

from __future__ import annotations

import asyncio

from miniwsgi.manager.port.metrics_api import Sources
from miniwsgi.manager.port.public_page import PublicPage
from miniwsgi.manager.port.public_requests import SHOWN_REQUESTS
from miniwsgi.manager.port.public_status import PublicStatus
from miniwsgi.metrics.history import Span

from ..running.master import Master
from ..telemetry.condition import health_of
from ..telemetry.exporter import Exporter
from ..telemetry.history_keeper import HistoryKeeper
from ..telemetry.measuring import Measuring
from ..telemetry.neighbours import Neighbours
from .managed_master import ManagedMaster


def port_sources(
    master: Master,
    managed: ManagedMaster,
    measuring: Measuring,
    exporter: Exporter,
    history: HistoryKeeper,
    neighbours: Neighbours,
) -> Sources:
    """Of everything that measures."""

    def status() -> PublicStatus:
        return managed.overview.public(measuring.samples())

    async def page(span: Span) -> PublicPage:
        seen = status()
        await asyncio.sleep(0)  # both read all slots: whoever asks for health meanwhile is answered in between
        routes = managed.routes()
        await asyncio.sleep(0)
        return PublicPage(
            status=seen,
            span=span,
            charts=history.drawn(span),
            marks=history.timeline.marks,
            epoch=history.epoch,
            neighbours=neighbours.known(),
            routes=routes,
            slow=managed.slow(SHOWN_REQUESTS).requests,
            lost=managed.crashes(SHOWN_REQUESTS).crashes,
        )

    return Sources(lambda: health_of(master), status, exporter.answer, page)
