"""Routes of the application: what each of them costs, and how its answers are."""

from __future__ import annotations

from .base import ResponseBody
from .figures import Latency


class RouteFigures(ResponseBody):
    """One route. Counts are since the daemon's start; `rate` and what follows are of the last minute."""

    name: str | None  # null: requests without a route; "_OTHER": those of all routes beyond the first 64
    requests: int
    errors: int  # answers of 500 and above, whoever made them
    statuses: dict[str, int]  # by class, those that occurred: {"2xx": 120, "4xx": 3}; "_OTHER": not known
    duration_seconds: float  # of all requests together
    queue_seconds: float | None  # that they waited for a thread, together
    cpu_seconds: float | None  # of threads inside the application; sampled and extrapolated. null: not measured
    response_bytes: int | None
    rate: float  # requests a second
    error_share: float | None  # 0 to 1; null without requests
    mean_seconds: float | None
    mean_queue_seconds: float | None
    cpu_percent: float | None  # of one CPU
    duration: Latency


class RouteList(ResponseBody):
    """GET /v1/routes: those with the most requests of the last minute first."""

    window_seconds: float  # what is said of the last minute is about so long
    routes: list[RouteFigures]
    looked_for: bool = True  # false: metrics.routes is off, and only what the application says counts
