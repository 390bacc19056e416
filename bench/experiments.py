"""What is measured, experiment by experiment.

An experiment measures all its servers once a round, in an order that rotates, and makes its rows from
whatever it has got: an interrupted run reports what it has. Rates and CPU are compared within a round, then
the median is taken.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.figures import Row, Target, Verdict, median, ratio_of_rounds, spread
from bench.idle import IdleConnections
from bench.load import LoadError
from bench.openloop import Plan
from bench.processes import ServerError, memory
from bench.trial import Bench, Sample, Workload

OURS = "miniwsgi"
KIB, MIB = 1024, 1024 * 1024
RELOAD_SECONDS = 30.0
QUIET = 0.1  # of a core for all other processes


class Experiment(ABC):
    """One name on the command line; some rows in the table."""

    def __init__(self, name: str, what: str, servers: Sequence[str]) -> None:
        self.name = name
        self.what = what
        self.servers = list(servers)
        self.problems: dict[str, str] = {}  # server -> why it has no figures

    def turn(self, number: int) -> list[str]:
        """The servers in the order of a round: each goes first in turn."""
        first = number % len(self.servers)
        return self.servers[first:] + self.servers[:first]

    def attempt(self, bench: Bench, server: str, number: int) -> None:
        """Measure one server in one round; what goes wrong is kept for its row."""
        if missing := bench.missing(server):
            self.problems[server] = missing
            return
        try:
            self.measure(bench, server, number)
        except (ServerError, LoadError, OSError) as error:
            self.problems[server] = str(error)

    @abstractmethod
    def measure(self, bench: Bench, server: str, number: int) -> None:
        """Measure one server and keep what came of it."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """What was measured so far."""

    @abstractmethod
    def raw(self) -> Any:
        """Every sample, JSON-ready."""

    def problem_row(self, server: str) -> Row:
        """The row of a server that has no figures."""
        why = self.problems.get(server, "not measured")
        return Row(self.name, server, self.what, None, verdict=Verdict.VOID, note=why)


@dataclass(frozen=True, slots=True)
class Against:
    """A target as a ratio to a peer of the same run: requests a second, or CPU a request."""

    peer: str
    target: Target
    cpu: bool = False


class Throughput(Experiment):
    """Requests a second and CPU a request, flat out, side by side."""

    def __init__(self, workload: Workload, what: str, servers: Sequence[str], targets: Sequence[Against] = ()) -> None:
        super().__init__(workload.name, what, servers)
        self.workload = workload
        self.targets = list(targets)
        self.samples: dict[str, dict[int, Sample]] = {server: {} for server in servers}

    def measure(self, bench: Bench, server: str, number: int) -> None:
        with bench.serving(server, bench.order(self.workload)) as running:
            self.samples[server][number] = bench.load(running, self.workload)

    def rows(self) -> list[Row]:
        found = []
        for server in self.servers:
            samples = self.samples[server]
            found.append(self._row(server, list(samples.values())) if samples else self.problem_row(server))
            if server == OURS:
                found.extend(self._against(target) for target in self.targets)
        return found

    def _row(self, server: str, samples: list[Sample]) -> Row:
        rates = spread(sample.rate for sample in samples)
        assert rates is not None
        middle = {
            name: median(getattr(sample, name) for sample in samples) or 0.0
            for name in ("cpu_us", "user_us", "system_us", "p50", "p99")
        }
        notes = [f"{rates.low:,.0f}–{rates.high:,.0f}/s"]
        notes.append(f"p50 {middle['p50'] * 1e3:.2f} ms, p99 {middle['p99'] * 1e3:.2f} ms")
        if all(sample.saturated for sample in samples):
            notes.append("wrk was saturated: compare CPU")
        busy = median(sample.others for sample in samples) or 0.0
        if busy > QUIET:
            notes.append(f"not a quiet machine: others used {busy:.0%} of a core")
        if server in self.problems:
            notes.append(f"not every round: {self.problems[server]}")
        errors = sum(sample.errors for sample in samples)
        if errors:
            notes.insert(0, f"{errors} errors")
        return Row(
            self.name,
            server,
            f"{rates.median:,.0f} req/s · CPU {middle['cpu_us']:.1f} µs"
            f" ({middle['user_us']:.1f} user + {middle['system_us']:.1f} system)",
            rates.median,
            verdict=Verdict.VOID if errors else Verdict.NONE,
            note="; ".join(notes),
        )

    def _against(self, against: Against) -> Row:
        def series(server: str) -> dict[int, float]:
            good = {number: sample for number, sample in self.samples[server].items() if not sample.errors}
            return {number: s.cpu_us if against.cpu else s.rate for number, s in good.items()}

        ours, theirs = series(OURS), series(against.peer)
        value = ratio_of_rounds(ours, theirs)
        return Row(
            self.name,
            OURS,
            "CPU a request" if against.cpu else "requests/s",
            median(ours.values()),
            target=f"{against.target} × {against.peer}",
            ratio=value,
            peer=against.peer,
            verdict=against.target.verdict(value),
            note="" if theirs else self.problems.get(against.peer, ""),
        )

    def raw(self) -> Any:
        names = ("rate", "user_us", "system_us", "p50", "p99", "errors", "saturated", "others")
        return {
            server: [{name: getattr(sample, name) for name in names} for sample in samples.values()]
            for server, samples in self.samples.items()
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that an experiment yields for each server, and the target of ours."""

    key: str
    text: str
    form: str  # a format string for the value
    target: Target | None = None


class Figures(Experiment):
    """An experiment that yields a few numbers for each server."""

    figures: tuple[Figure, ...] = ()

    def __init__(self, name: str, what: str, servers: Sequence[str] = (OURS,)) -> None:
        super().__init__(name, what, servers)
        self.values: dict[str, dict[str, list[float]]] = {server: {} for server in servers}
        self.notes: dict[str, str] = {}

    def keep(self, server: str, **values: float | None) -> None:
        """Add one round's values; None is left out."""
        for key, value in values.items():
            if value is not None:
                self.values[server].setdefault(key, []).append(value)

    def rows(self) -> list[Row]:
        found = []
        for server in self.servers:
            got = self.values[server]
            rows = [self._row(server, figure, got.get(figure.key, [])) for figure in self.figures]
            remark = self.problems.get(server) or self.notes.get(server, "")
            if not got:  # only what was promised is missed
                rows = [row for row in rows if row.target] or [self.problem_row(server)]
            found.append(replace(rows[0], note=remark if got else remark or "not measured"))
            found.extend(rows[1:])
        return found

    def _row(self, server: str, figure: Figure, values: list[float]) -> Row:
        value = median(values)
        target = figure.target if server == OURS else None
        return Row(
            self.name,
            server,
            figure.form.format(value) + f" {figure.text}" if value is not None else figure.text,
            value,
            target=str(target) if target else "",
            verdict=target.verdict(value) if target else Verdict.NONE,
        )

    def raw(self) -> Any:
        return self.values


class Mixed(Figures):
    """p99 of fast requests while one in 50 sleeps, at half of the rate that it reaches flat out."""

    figures = (
        Figure("p99", "p99 of the fast ones", "{:.2f} ms", Target(at_most=5.0, unit="ms")),
        Figure("p50", "p50 of the fast ones", "{:.2f} ms"),
        Figure("flat_out", "flat out (64 connections)", "{:,.0f} req/s"),
    )
    workload = Workload("mixed", "bench_app:mixed", "mixed.lua", threads=32)

    def measure(self, bench: Bench, server: str, number: int) -> None:
        with bench.serving(server, bench.order(self.workload)) as running:
            flat_out = bench.load(running, self.workload)
            plan = Plan(running.port, flat_out.rate / 2, bench.seconds * 2, slow_path="/slow", slow_every=50)
            outcome = bench.open_loop(plan)
        _demand_clean(server, outcome, flat_out.errors)
        fast = outcome["fast"]
        self.keep(server, p99=_ms(fast["p99"]), p50=_ms(fast["p50"]), flat_out=flat_out.rate)
        self.notes[server] = (
            f"open loop at {flat_out.rate / 2:,.0f} req/s, counted from when due; "
            f"generator p99 {_ms(outcome['late']['p99']):.2f} ms late"
        )


class BesideCpuBound(Figures):
    """p50 of a fast handler beside two that keep the interpreter busy."""

    figures = (
        Figure("p50", "p50 beside two CPU-bound", "{:.2f} ms", Target(at_most=2.0, unit="ms")),
        Figure("p99", "p99 beside two CPU-bound", "{:.2f} ms"),
    )

    def measure(self, bench: Bench, server: str, number: int) -> None:
        workload = Workload(self.name, "bench_app:mixed", threads=8)
        with bench.serving(server, bench.order(workload)) as running:
            plan = Plan(running.port, 100, max(3.0, bench.seconds), beside_path="/burn", beside=2)
            outcome = bench.open_loop(replace(plan, connections=64))
        _demand_clean(server, outcome, 0)
        if not outcome["beside_answers"]:
            raise ServerError(f"{server}: the CPU-bound handlers were not answered")
        self.keep(server, p50=_ms(outcome["fast"]["p50"]), p99=_ms(outcome["fast"]["p99"]))
        self.notes[server] = "8 threads, 100 req/s, open loop"


class Idle(Figures):
    """Memory of idle kept-alive connections, and the speed of hello-world beside them."""

    figures = (
        Figure("each", "of the worker each (PSS)", "{:.2f} KiB", Target(at_most=4.0, unit="KiB")),
        Figure("speed", "× its speed without them", "{:.3f}", Target(at_least=0.9, unit="×")),
    )
    connections = 5000
    workload = Workload("idle", "bench_app:hello")

    def measure(self, bench: Bench, server: str, number: int) -> None:
        with bench.serving(server, bench.order(self.workload)) as running:
            without = bench.load(running, self.workload)
            (worker,) = running.workers()
            before = memory(worker)
            with IdleConnections(running.port, self.connections) as idle:
                after = memory(worker)
                beside = bench.load(running, self.workload)
                still_open = idle.still_open()
        if without.errors or beside.errors or still_open != self.connections:
            raise ServerError(f"{without.errors + beside.errors} errors, {still_open} of {self.connections} still open")
        self.keep(
            server,
            each=(after.pss - before.pss) / self.connections / KIB,
            rss_each=(after.rss - before.rss) / self.connections / KIB,
            speed=beside.rate / without.rate,
            cpu=beside.cpu_us / without.cpu_us,
        )
        rss = median(self.values[server]["rss_each"])
        cpu = median(self.values[server]["cpu"])
        self.notes[server] = (
            f"{self.connections:,} connections; RSS {rss:.2f} KiB each, without kernel memory;"
            f" CPU a request × {cpu:.2f}"
        )


class Memory(Figures):
    """What the processes take after some thousand requests."""

    figures = (
        Figure("master_rss", "RSS of the master", "{:.1f} MiB", Target(at_most=45.0, unit="MiB")),
        Figure("worker_pss", "PSS of the worker", "{:.1f} MiB", Target(at_most=20.0, unit="MiB")),
        Figure("tree_pss", "PSS of the whole tree", "{:.1f} MiB"),
    )
    workload = Workload("memory", "bench_app:hello")

    def measure(self, bench: Bench, server: str, number: int) -> None:
        with bench.serving(server, bench.order(self.workload)) as running:
            bench.load(running, self.workload)
            pids = running.pids()
            (worker,) = running.workers()
            sizes = {pid: memory(pid) for pid in pids}
        self.keep(
            server,
            master_rss=sizes[pids[0]].rss / MIB,
            worker_pss=sizes[worker].pss / MIB,
            worker_private=sizes[worker].private / MIB,
            tree_pss=sum(size.pss for size in sizes.values()) / MIB,
        )
        private = median(self.values[server]["worker_private"])
        self.notes[server] = f"{len(pids)} processes; the worker's private memory {private:.1f} MiB"


class ColdStart(Figures):
    """From exec to the first answered request, with compiled files in place."""

    figures = (Figure("seconds", "to the first answer", "{:.3f} s", Target(at_most=0.6, unit="s")),)

    def measure(self, bench: Bench, server: str, number: int) -> None:
        order = bench.order(Workload(self.name, "bench_app:hello"))
        begin = time.monotonic()
        with bench.serving(server, order, pinned=False) as running:
            self.keep(server, seconds=time.monotonic() - max(begin, running.started))
        self.notes[server] = "not pinned"


class Reload(Figures):
    """From SIGHUP to the verdict, with 4 workers of hello-world."""

    figures = (Figure("seconds", "for 4 workers", "{:.3f} s", Target(at_most=1.0, unit="s")),)

    def measure(self, bench: Bench, server: str, number: int) -> None:
        order = bench.order(Workload(self.name, "bench_app:hello"), workers=4)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            address = bench.scratch / "notify.sock"
            address.unlink(missing_ok=True)
            notify.bind(str(address))
            environment = {"NOTIFY_SOCKET": str(address)}
            with bench.serving(server, order, pinned=False, environment=environment) as running:
                _await_notice(notify, "READY=1")
                before = set(running.workers())
                begin = time.monotonic()
                os.kill(running.process.pid, signal.SIGHUP)
                _await_notice(notify, "RELOADING=1")
                _await_notice(notify, "READY=1")
                elapsed = time.monotonic() - begin
                fresh = set(running.workers()) - before
        if len(fresh) < order.workers:
            raise ServerError(f"only {len(fresh)} of {order.workers} workers are new after the reload")
        self.keep(server, seconds=elapsed)
        self.notes[server] = "SIGHUP to READY=1, not pinned"


def _await_notice(notify: socket.socket, wanted: str) -> None:
    """Wait for a line of an sd_notify(3) message. Raises ServerError after RELOAD_SECONDS."""
    deadline = time.monotonic() + RELOAD_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        notify.settimeout(left)
        try:
            message = notify.recv(65536)
        except TimeoutError:
            break
        if wanted in message.decode("utf-8", "replace").splitlines():
            return
    raise ServerError(f"no {wanted} within {RELOAD_SECONDS:g} s")


def _demand_clean(server: str, outcome: dict[str, Any], others: int) -> None:
    errors, unanswered, answers = outcome["errors"] + others, outcome["unanswered"], outcome["fast"]["count"]
    if errors or unanswered or not answers:
        raise ServerError(f"{server}: {errors} errors, {unanswered} unanswered in time, {answers} answers")


def _ms(seconds: float) -> float:
    return seconds * 1e3
