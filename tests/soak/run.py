"""One soak: a daemon, traffic, churn, a sampler, and at the end what is to be said about it."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.metrics_client import Metrics, Series
from tests.support.shops import Shop, Site
from tests.support.waiting import PATIENCE_SECONDS

from .churn import Churn, Deeds
from .sampling import Role, Sample, Sampler
from .traffic import BODY_MEMORY_BYTES, KINDS, Tally, Traffic
from .trend import Trend, trend

SHOP = Shop("soak", str(Path(__file__).resolve().parent / "app"), "soakshop:app")
SERVED = "http_server_request_duration_seconds_count"
MOST_WARM_UP_SECONDS = 300.0
FEWEST_SAMPLES = 30
LINES_BEFORE, LINES_FROM = 3, 20  # of the log, around a line that should not be there: nothing else is left of it
ANSWERED = {kind.name for kind in KINDS if kind.name != "leaving"}
CHANGES = {"reload", "scale", "restart"}

# By how much a series may have grown at the end, in its unit: above what comes and goes (the heap's fragments, a
# reload that runs while it is looked at), below what a leak of one piece a reload makes in half an hour.
WATCHED: dict[str, tuple[Callable[[Sample], float], float]] = {
    "memory of the master, MiB": (lambda sample: sample.roles["master"].memory, 1.0),
    "memory of a launcher, MiB": (lambda sample: _each(sample, "launchers", lambda role: role.memory), 1.0),
    "memory of a worker, MiB": (lambda sample: _each(sample, "workers", lambda role: role.memory), 1.0),
    "descriptors of the master": (lambda sample: sample.roles["master"].descriptors, 2.0),
    "descriptors of a launcher": (lambda sample: _each(sample, "launchers", lambda role: role.descriptors), 2.0),
    "descriptors of a worker": (lambda sample: _each(sample, "workers", lambda role: role.descriptors), 3.0),
    "threads of the master": (lambda sample: sample.roles["master"].threads, 1.0),
    "threads of a worker": (lambda sample: _each(sample, "workers", lambda role: role.threads), 2.0),
    "processes": (lambda sample: sample.processes, 2.0),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run."""

    seconds: float
    pool: str = "epoll"
    rate: float = 80.0  # requests a second
    every: float = 8.0  # seconds between changes, on average
    max_requests: int = 500
    sample_every: float = 1.0
    calm: bool = False  # no changes, no recycling: what grows with each request is seen in the workers
    seed: int = 1


@dataclass
class Result:
    """What came of it."""

    settings: Settings
    began: float  # time.monotonic
    warm_up: float  # seconds; before that nothing is judged
    samples: list[Sample]
    tally: Tally
    progress: list[tuple[float, Counter[str], int]]  # when, answers by kind, failures
    deeds: Deeds
    counters: Series
    trends: dict[str, Trend] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Figures for machines."""
        return {
            "seconds": self.settings.seconds,
            "pool": self.settings.pool,
            "answered": dict(self.tally.answered),
            "failures": self.tally.failures,
            "left_by_their_clients": dict(self.tally.left),
            "slowest_page_seconds": round(self.tally.slowest, 4),
            "processes_that_answered": len(self.tally.processes),
            "versions_that_answered": len(self.tally.versions),
            "changes": dict(self.deeds.counts()),
            "looks": sum(self.deeds.looks.values()),
            "scrapes": self.deeds.scrapes,
            "worker_exits": self.exits,
            "warm_up_seconds": self.warm_up,
            "trends": {
                name: {
                    "median": round(found.median, 3),
                    "growth": round(found.growth, 3),
                    "at_least": round(found.low, 3),
                    "at_most": round(found.high, 3),
                    "allowed": found.allowed,
                    "grows": found.grows,
                }
                for name, found in self.trends.items()
            },
            "complaints": self.complaints,
        }

    def __str__(self) -> str:
        tally, deeds = self.tally, self.deeds
        kinds = ", ".join(f"{name} {count:,}" for name, count in tally.answered.most_common())
        changes = ", ".join(f"{count} {what}" for what, count in deeds.counts().most_common())
        exits = ", ".join(f"{count} {why}" for why, count in self.exits.items())
        lines = [
            f"{tally.total:,} requests answered rightly ({kinds}), {tally.failures} failed, "
            f"{sum(tally.left.values()):,} given up by their clients",
            f"{len(tally.versions)} versions in {len(tally.processes)} processes; changes: {changes or 'none'}; "
            f"worker exits: {exits or 'none'}; {deeds.scrapes} scrapes, {sum(deeds.looks.values())} control calls",
            *[f"  {name:26} median {found.median:8.2f}   {found}" for name, found in self.trends.items()],
            *[f"BROKEN: {complaint}" for complaint in self.complaints],
        ]
        return "\n".join(lines)


def soak(settings: Settings, tell: Callable[[str], None] = lambda _line: None) -> Result:
    """Run it. `tell` gets a line now and then. What is wrong is in `complaints`; raises only if it cannot run."""
    with tempfile.TemporaryDirectory(prefix="miniwsgi-soak-") as name:
        return _soak_in(Path(name), settings, tell)


def _soak_in(directory: Path, settings: Settings, tell: Callable[[str], None]) -> Result:
    site, spool, path = Site(SHOP, directory), directory / "spool", directory / "control.sock"
    spool.mkdir()
    metrics = Metrics(directory)
    _configure(site, settings, spool, directory / "access.log")
    site.release("v0")
    daemon = Daemon(directory, "-c", str(site.configuration), "--control", str(path), *metrics.arguments)
    with daemon:
        daemon.wait_for_log("start: done")
        with Control(path) as control:
            sampler = Sampler(daemon, settings.sample_every)
            traffic = Traffic(daemon.address, settings.rate, keep_alive=settings.pool == "epoll", seed=settings.seed)
            churn = Churn(site, daemon, control, metrics, settings.every, calm=settings.calm, seed=settings.seed)
            began = time.monotonic()
            for part in (sampler, traffic, churn):
                part.start()

            def enough() -> bool:
                """Whether a slow machine, too, has seen some of everything."""
                seen = traffic.tally.answered.keys() >= ANSWERED and len(sampler.samples) >= FEWEST_SAMPLES
                return seen and (settings.calm or churn.deeds.counts().keys() >= CHANGES)

            progress = _watch(settings, began, traffic, enough, tell)
            deeds = churn.stop()
            sampler.stop()
            tally = traffic.stop()
            counters, complaints = _count(daemon, metrics, tally)
        warm_up = min((time.monotonic() - began) / 4, MOST_WARM_UP_SECONDS)
        result = Result(settings, began, warm_up, sampler.samples, tally, progress, deeds, counters)
        result.exits = {
            series.split('"')[1]: int(value)
            for series, value in counters.items()
            if series.startswith("miniwsgi_worker_exits_total") and value
        }
        result.complaints = complaints + _end(daemon, directory, spool)
    judge(result)
    return result


def _configure(site: Site, settings: Settings, spool: Path, access_log: Path) -> None:
    recycle = "" if settings.calm else f"[recycle]\nmax_requests = {settings.max_requests}\n"
    site.configure(
        f'workers = 2\nthreads = 4\npool = "{settings.pool}"\nspool_directory = "{spool}"',
        f"[limits]\nbody_memory = {BODY_MEMORY_BYTES}\n"
        # Visitors use a connection that was silent for a second: it must be far from being closed by a drain.
        f'[timeouts]\ndrain_idle = "5s"\n{recycle}[log]\naccess_log = "{access_log}"',
    )


def _watch(
    settings: Settings, began: float, traffic: Traffic, enough: Callable[[], bool], tell: Callable[[str], None]
) -> list[tuple[float, Counter[str], int]]:
    """Wait until the time is over and has been enough, and note how the traffic goes."""
    progress: list[tuple[float, Counter[str], int]] = []
    pause, told = threading.Event(), began
    latest = began + settings.seconds + 2 * PATIENCE_SECONDS
    while (now := time.monotonic()) < began + settings.seconds or (not enough() and now < latest):
        traffic.check()
        tally = traffic.tally
        progress.append((now, Counter(tally.answered), tally.failures))
        if now - told >= 60:
            told = now
            tell(f"{(now - began) / 60:4.0f} min  {tally.total:,} answered, {tally.failures} failed")
        pause.wait(settings.sample_every)
    return progress


def _count(daemon: Daemon, metrics: Metrics, tally: Tally) -> tuple[Series, list[str]]:
    """The daemon's last word on how much it has served, once nothing runs any more."""
    complaints = []
    expected = {method: tally.methods[method] for method in ("GET", "POST")}
    try:
        daemon.wait(lambda: _served(metrics.scrape()) == expected, f"the client's counts: {expected}", 20)
    except AssertionError:
        complaints.append(f"the daemon has counted {_served(metrics.scrape())}, the client {expected}")
    return metrics.scrape(), complaints


def _served(series: Series) -> dict[str, int]:
    """Requests by method, of those that were answered to their end."""
    found = {"GET": 0, "POST": 0}
    for method in found:
        for name, value in series.items():
            if name.startswith(SERVED) and f'http_request_method="{method}"' in name:
                found[method] += int(value)
    return found


def _end(daemon: Daemon, directory: Path, spool: Path) -> list[str]:
    """Stop it: what is left of it, in words."""
    complaints = []
    status = daemon.stop()
    if status != 0:
        complaints.append(f"exit status {status}")
    try:
        daemon.wait(lambda: not daemon.survivors(), "nothing is left", PATIENCE_SECONDS)
        daemon._known.clear()  # all of hundreds are gone: nobody is to be waited for
    except AssertionError:
        complaints.append(f"processes are left: {daemon.survivors()}")
    left = [path.name for path in spool.iterdir()] + [path.name for path in directory.glob("*.sock")]
    left.remove("notify.sock")  # ours
    if left:
        complaints.append(f"files are left: {left}")
    log = daemon.log().splitlines()
    for number, line in enumerate(log):
        if " error " in line or "Traceback" in line:
            around = "\n".join(log[max(0, number - LINES_BEFORE) : number + LINES_FROM])
            complaints.append(f"the daemon's log has: {line}\n{around}")
    return complaints


def judge(result: Result) -> None:
    """Look for what is wrong in the figures of a run; fills `trends` and `complaints`."""
    tally, deeds = result.tally, result.deeds
    if tally.failures:
        some = "; ".join(str(lost) for lost in tally.lost[:10])
        result.complaints.append(f"{tally.failures} requests failed: {some}")
    result.complaints.extend(deeds.wrong)
    warm = [sample for sample in result.samples if sample.at >= result.began + result.warm_up]
    for name, (value, allowed) in WATCHED.items():
        series = [(sample.at, found) for sample in warm if (found := _present(value, sample)) is not None]
        result.trends[name] = found = trend(series, allowed)
        if found.grows:
            result.complaints.append(f"{name}: {found}")


def _present(value: Callable[[Sample], float], sample: Sample) -> float | None:
    try:
        return value(sample)
    except KeyError:
        return None  # none of that role was there at that time


def _each(sample: Sample, name: str, of: Callable[[Role], float]) -> float:
    """Of one process of a role, on average. Raises KeyError if there is none."""
    role = sample.roles[name]
    return of(role) / role.processes
