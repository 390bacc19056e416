"""The steps of a run: each measures one server once and keeps what came of it, or why nothing did.

Servers of a workload are measured side by side in each round, in an order that rotates; what takes a run of its own
(fixed rates, system calls) comes after the rounds, whose rates it needs.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench import balance
from bench.idle import IdleConnections
from bench.load import Load, LoadError
from bench.openloop import Plan
from bench.processes import Running, ServerError, machine_busy
from bench.results_file import Cell, Results
from bench.servers import FLOOR, Kind
from bench.slow import SlowClients
from bench.system_calls import counted
from bench.trial import Bench, Loaded, Sample, WrongAnswer, make_sample
from bench.workloads import How, Workload

RATE_SHARE = 0.5  # of what the slowest can do: the fixed rate for all
GENERATOR_MOST = 8000.0  # requests a second that the generator sends when they are due
HEADROOM = 1.1  # a server whose own rate is not so much above the fixed one is not asked
ENGINE = r"generation 1: engine (\w+)"  # as our log says it
STARVED = 0.5  # of the connections got answers at all
TROUBLE = (ServerError, LoadError, OSError, http.client.HTTPException, subprocess.SubprocessError)


class Step(ABC):
    """Something to do, and about how long it takes."""

    estimate: float  # seconds

    @property
    @abstractmethod
    def title(self) -> str:
        """For the progress."""

    @abstractmethod
    def run(self, bench: Bench, results: Results) -> None:
        """Do it. What goes wrong with a server is kept in the results."""


def turn(servers: Sequence[str], number: int) -> list[str]:
    """The servers in the order of a round: each goes first in turn."""
    first = number % len(servers) if servers else 0
    return [*servers[first:], *servers[:first]]


@dataclass
class Round(Step):
    """A server under a workload, once."""

    workload: Workload
    server: str
    number: int
    estimate: float

    @property
    def title(self) -> str:
        return f"round {self.number + 1}, {self.workload.name}: {self.server}"

    def run(self, bench: Bench, results: Results) -> None:
        cell = results.cell(self.workload.name, self.server)
        if cell.given_up:
            return
        if missing := bench.missing(self.server):
            cell.fail(missing, for_good=True)
            return
        most = bench.servers[self.server].most_threads
        if most is not None and most < (self.workload.threads or 1):
            cell.fail(f"does not offer {self.workload.threads} threads", for_good=True)
            return
        try:
            self._measure(bench, cell)
        except WrongAnswer as error:
            cell.fail(str(error), for_good=True)
        except TROUBLE as error:
            cell.fail(str(error) or type(error).__name__)

    def _measure(self, bench: Bench, cell: Cell) -> None:
        workload = self.workload
        order = bench.order(workload)
        with bench.serving(self.server, order, workload.exchange, pinned=workload.pinned) as running:
            if self.server.startswith("echo-"):
                sample = _echo(bench, running, workload)
            elif workload.how is How.IDLE:
                sample = _beside_idle(bench, running, workload, cell)
            elif workload.how is How.SLOW:
                sample = _beside_slow(bench, running, workload, cell)
            elif workload.how is How.CPU_BOUND:
                sample = _beside_cpu(bench, running)
            else:
                counts = workload.shares and bench.servers[self.server].kind is Kind.OURS
                before = balance.answered(order.metrics) if counts else {}
                loaded = _answered(bench.load(running, workload))
                sample = loaded.sample
                if counts:
                    _keep_shares(cell, "answered", balance.shares(before, balance.answered(order.metrics)))
                elif workload.shares:  # peers do not tell what each process has answered
                    _keep_shares(cell, "shares", loaded.shares[: workload.workers])
                _remark_starved(cell, workload, loaded.load)
            if bench.servers[self.server].kind is Kind.OURS and (engine := running.said(ENGINE)):
                cell.extra["engine"] = engine
        if not workload.pinned and bench.server_cpus:
            cell.remark("not pinned")
        cell.rounds.append(sample.as_json(self.number))


def _keep_shares(cell: Cell, name: str, shares: Sequence[float]) -> None:
    cell.extra[name] = [round(share, 3) for share in shares]
    cell.keep(unevenness=unevenness(shares))


def unevenness(shares: Sequence[float]) -> float:
    """How far the share of any worker is from an equal one, as a part of that."""
    equal = sum(shares) / len(shares) if shares else 0.0
    return max((abs(share / equal - 1) for share in shares), default=0.0) if equal else 0.0


def _answered(loaded: Loaded) -> Loaded:
    if not loaded.load.requests:
        raise ServerError(f"no request was answered ({loaded.load.errors} errors)")
    return loaded


def _remark_starved(cell: Cell, workload: Workload, load: Load) -> None:
    """wrk does not tell that some connections get no answer: their number does."""
    exchange = workload.exchange
    if exchange.deep == 1 and not exchange.ends and load.busy_connections < STARVED * workload.connections:
        cell.remark(f"about {max(1, round(load.busy_connections))} of {workload.connections} connections were served")


def _echo(bench: Bench, running: Running, workload: Workload) -> Sample:
    """An echo speaks no HTTP: its own client loads it."""
    argv = [sys.executable, str(FLOOR / "echo_load.py"), str(running.port), str(bench.seconds)]
    if bench.load_cpus:
        argv = ["taskset", "-c", ",".join(map(str, bench.load_cpus)), *argv]
    before, busy, children = running.cpu(), machine_busy(), getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(
        [*argv, str(workload.connections)], check=False, capture_output=True, text=True, timeout=bench.seconds + 30
    )
    if done.returncode:
        raise LoadError(done.stderr.strip()[-200:])
    told = json.loads(done.stdout)
    spent = getrusage(RUSAGE_CHILDREN)
    generator = (spent.ru_utime + spent.ru_stime - children.ru_utime - children.ru_stime) / bench.seconds
    latency = {50.0: told["p50"], 99.0: told["p99"], 99.9: told["p999"]}
    load = Load(round(told["rate"] * bench.seconds), bench.seconds, latency, told["errors"], 0, generator)
    return make_sample(load, running.cpu() - before, machine_busy() - busy, running.pss())


def _beside_idle(bench: Bench, running: Running, workload: Workload, cell: Cell) -> Sample:
    without = _answered(bench.load(running, workload))
    before = running.pss()
    with IdleConnections(running.port, workload.others) as idle:
        after = running.pss()
        beside = bench.load(running, workload)
        still_open = idle.still_open()
    if still_open < workload.others:
        raise ServerError(f"closed {workload.others - still_open:,} of {workload.others:,} idle connections")
    _answered(beside)
    cell.keep(
        bytes_each=(after - before) / workload.others,
        speed=beside.sample.speed(without.sample),
    )
    bytes_each = sorted(cell.series["bytes_each"])[len(cell.series["bytes_each"]) // 2]
    cell.extra["idle"] = {"connections": workload.others, "bytes_each": bytes_each}
    return beside.sample


def _beside_slow(bench: Bench, running: Running, workload: Workload, cell: Cell) -> Sample:
    with SlowClients(running.port, workload.others) as slow:
        loaded = bench.load(running, workload)
    if not loaded.load.requests:
        raise ServerError("answers nobody else meanwhile")
    if slow.refused:
        cell.remark(f"closed {slow.refused} of the slow ones")
    return loaded.sample


def _beside_cpu(bench: Bench, running: Running) -> Sample:
    plan = Plan(running.port, 100, max(3.0, bench.seconds), beside_path="/burn", beside=2, connections=64)
    outcome = bench.open_loop(plan)
    if not outcome["beside_answers"]:
        raise ServerError("the requests that compute were not answered")
    fast = outcome["fast"]
    errors = outcome["errors"] + outcome["unanswered"]
    rate = fast["count"] / plan.seconds
    return Sample(rate, None, None, fast["p50"], fast["p99"], fast["p99.9"], errors, pss_bytes=running.pss())


@dataclass
class Afterwards(Step):
    """What takes a run of its own: latency at a fixed rate, system calls."""

    workload: Workload
    server: str
    servers: tuple[str, ...]  # of the workload, whose slowest gives the rate
    fixed: bool
    calls: bool
    number: int
    estimate: float

    @property
    def title(self) -> str:
        what = " and ".join(["fixed rate"] * self.fixed + ["system calls"] * self.calls)
        return f"{what}, {self.workload.name}: {self.server}"

    def run(self, bench: Bench, results: Results) -> None:
        cell = results.cell(self.workload.name, self.server)
        if cell.void:
            return
        rate = self._rate(bench, results, cell) if self.fixed else None
        if rate is None and not self.calls:
            return
        order = bench.order(self.workload)
        try:
            with bench.serving(self.server, order, self.workload.exchange, pinned=self.workload.pinned) as running:
                if bench.warm_up:
                    bench.wrk(running, self.workload, bench.warm_up)
                if rate is not None:
                    self._fixed(bench, running, rate, cell)
                if self.calls:
                    cell.system_calls = self._system_calls(bench, running, order.scratch)
        except TROUBLE as error:
            cell.remark(f"{self.title.partition(',')[0]}: {error}")

    def _rate(self, bench: Bench, results: Results, cell: Cell) -> float | None:
        rate = fixed_rate(bench, results, self.workload.name, self.servers)
        own = cell.median("rate")
        if rate is None or own is None or own < rate * HEADROOM:
            cell.remark(f"cannot keep up with the fixed rate of {rate or 0:,.0f}/s")
            return None
        return rate

    def _fixed(self, bench: Bench, running: Running, rate: float, cell: Cell) -> None:
        fixed = self.workload.fixed
        assert fixed is not None
        plan = Plan(
            running.port,
            rate,
            max(2.0, bench.seconds * 2),
            connections=self.workload.connections,
            slow_path=fixed.slow_path,
            slow_every=fixed.slow_every,
        )
        outcome = bench.open_loop(plan)
        errors, unanswered, fast = outcome["errors"], outcome["unanswered"], outcome["fast"]
        if errors or unanswered or not fast["count"]:
            cell.remark(f"at {rate:,.0f}/s: {errors} errors, {unanswered} unanswered")
            return
        times = {name: fast[key] for name, key in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))}
        cell.fixed_runs.append({"round": self.number, "rate": rate, **times, "late_p99": outcome["late"]["p99"]})
        cell.curve = outcome["curve"]

    def _system_calls(self, bench: Bench, running: Running, directory: Path) -> float:
        with counted(running.pids(), directory / "strace") as count:
            load = bench.wrk(running, self.workload, 1.0)
        if count.calls is None or not load.requests:
            raise ServerError("nothing was counted")
        return count.calls / load.requests


def fixed_rate(bench: Bench, results: Results, workload: str, servers: Sequence[str]) -> float | None:
    """Requests a second at which latencies compare: half of what the slowest can do; None when nobody was measured.

    Servers in their default, and those that do not keep connections alive, do not slow down the others.
    """
    rates = []
    for name in servers:
        server = bench.servers[name]
        cell = results.cells.get((workload, name))
        if cell is not None and not cell.void and takes_fixed(server.kind, name, server.keeps_alive):
            rates.append(cell.median("rate") or 0.0)
    return min(min(rates) * RATE_SHARE, GENERATOR_MOST) if rates else None


def takes_fixed(kind: Kind, name: str, keeps_alive: bool) -> bool:
    """Whether a server's latency at a fixed rate is measured."""
    return kind in (Kind.OURS, Kind.PEER) and keeps_alive and not name.endswith("-default")


def rounds_of(workload: Workload, number: int, bench: Bench) -> list[Step]:
    """A round of a workload."""
    each = 0.9 + bench.warm_up + bench.seconds
    more = {How.IDLE: bench.warm_up + bench.seconds + workload.others / 4000, How.SLOW: 0.5, How.CPU_BOUND: 3.0}
    estimate = each + more.get(workload.how, 0.0)
    return [Round(workload, server, number, estimate) for server in turn(workload.servers, number)]


def afterwards(workload: Workload, rounds: int, bench: Bench, *, system_calls: bool, fixed: bool = True) -> list[Step]:
    """What is measured of a workload after its rounds."""
    found: list[Step] = []
    calls = workload.system_calls and system_calls
    repeats = rounds if workload.fixed and workload.fixed.every_round else 1
    for number in range(repeats):
        for name in turn(workload.servers, number):
            server = bench.servers[name]
            rated = fixed and workload.fixed is not None and takes_fixed(server.kind, name, server.keeps_alive)
            counts = calls and number == 0 and not name.startswith("echo-")
            if rated or counts:
                seconds = 1.0 + bench.warm_up + rated * (max(2.0, bench.seconds * 2) + 1.0) + counts * 1.7
                found.append(Afterwards(workload, name, workload.servers, rated, counts, number, seconds))
    return found
