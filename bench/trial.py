"""One measurement of one server: started afresh, verified to answer rightly, warmed up, loaded, stopped.

A `Bench` holds what is the same for all of them: interpreters, cores, durations, a scratch directory.
"""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.cpu_time import Cpu
from bench.exchange import Exchange, NotYet, complaint, complaint_echo
from bench.load import Load, run_wrk
from bench.openloop import Plan, run_apart
from bench.peer_servers import SERVERS
from bench.peers import Environment
from bench.processes import Running, ServerError, free_port, machine_busy, start
from bench.servers import APPS, OURS, Kind, Order, Programs, Server
from bench.workloads import FILE, STATIC_CSS, STATIC_JS, How, Workload

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
PORT_ATTEMPTS = 3
Probe = Callable[[int], str]  # port -> what is wrong with the answers; raises OSError when there are none


class WrongAnswer(ServerError):
    """It runs, and does not do what the workload asks: another try would not help."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One server under one workload in one round."""

    rate: float  # requests a second
    user_us: float | None  # processor time of the server's tree a request, in µs
    system_us: float | None
    p50: float | None  # seconds
    p99: float | None
    p999: float | None
    errors: int
    saturated: bool = False  # the load generator had no processor time to spare
    others: float = 0.0  # processors that neither the server nor the load kept busy: a machine that is not quiet
    pss_bytes: int | None = None

    @property
    def cpu_us(self) -> float:
        """User and system."""
        return (self.user_us or 0.0) + (self.system_us or 0.0)

    def speed(self, reference: Sample) -> float:
        """How many times as fast as another one: by the rates, but by the CPU where wrk could follow in neither."""
        if self.saturated and reference.saturated and self.cpu_us:
            return reference.cpu_us / self.cpu_us
        return self.rate / reference.rate

    def as_json(self, number: int) -> dict[str, Any]:
        """As the results file has it."""
        return {"round": number, **asdict(self)}


def make_sample(load: Load, cpu: Cpu, busy: float = 0.0, pss: int | None = None) -> Sample:
    """What wrk saw and what the server used meanwhile, as one sample; `busy`: seconds of all processors."""
    requests = load.requests
    return Sample(
        rate=load.rate,
        user_us=cpu.user / requests * 1e6 if requests else None,
        system_us=cpu.system / requests * 1e6 if requests else None,
        p50=load.latency.get(50.0),
        p99=load.latency.get(99.0),
        p999=load.latency.get(99.9),
        errors=load.errors,
        saturated=load.saturated,
        others=max(0.0, (busy - cpu.total) / load.seconds - load.generator_cpu) if load.seconds else 0.0,
        pss_bytes=pss,
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sample, and what the load told besides."""

    sample: Sample
    load: Load
    shares: list[float]  # of the processor time, by process that serves, the largest first; see also balance


@dataclass
class Bench:
    """What every measurement shares."""

    programs: Programs
    environment: Environment  # of the peers
    scratch: Path
    seconds: float
    warm_up: float = 0.5
    server_cpus: list[int] = field(default_factory=list)
    load_cpus: list[int] = field(default_factory=list)
    servers: dict[str, Server] = field(default_factory=lambda: SERVERS)
    commands: dict[str, str] = field(default_factory=dict)  # of each server, as it was started first
    others: list[float] = field(default_factory=list)  # of every sample

    def __post_init__(self) -> None:
        self.scratch.chmod(0o755)  # Apache gives up being root
        self.file = self.scratch / "10MiB"
        os.environ["BENCH_FILE"] = str(self.file)
        self.static = self.scratch / "static"
        os.environ["BENCH_STATIC"] = str(self.static)

    def missing(self, name: str) -> str:
        """Why a server cannot take part; "" when it can."""
        server = self.servers[name]
        if server.absent:
            return server.absent
        if server.kind is Kind.FLOOR and name.endswith("-c") and name.removesuffix("-c") not in self.programs.floor:
            return "no C compiler"
        wanted = [package for package in (server.package, *server.needs) if package not in ("", OURS)]
        for package in wanted:
            if reason := self.environment.missing.get(package):
                return f"{package}: {reason}"
        for tool in server.tools:
            if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
                return f"{tool} is not installed"
        return ""

    def order(self, workload: Workload) -> Order:
        """How a workload is to be served, on a port that is free now."""
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        directory.chmod(0o777)
        return Order(
            workload.application,
            free_port(),
            workload.workers,
            workload.threads,
            metrics=f"127.0.0.1:{free_port()}",
            control=str(directory / "control.sock"),
            connections=2 * workload.others if workload.how is How.IDLE else None,
            framework=workload.framework,
            static=self.static if workload.name.startswith("static-") else None,
            scratch=directory,
        )

    @contextmanager
    def serving(
        self,
        name: str,
        order: Order,
        exchange: Exchange,
        *,
        pinned: bool = True,
        environment: dict[str, str] | None = None,
    ) -> Iterator[Running]:
        """A server that runs and has answered rightly. Raises ServerError."""
        if exchange.expected is FILE and not self.file.exists():
            self.file.write_bytes(FILE)
        if order.static is not None and not order.static.exists():
            order.static.mkdir()
            (order.static / "site.css").write_bytes(STATIC_CSS)
            (order.static / "site.js").write_bytes(STATIC_JS)
        running = self._start(name, order, exchange, pinned, environment or {})
        try:
            yield running
        finally:
            running.stop()
            shutil.rmtree(order.scratch, ignore_errors=True)

    def _start(self, name: str, order: Order, exchange: Exchange, pinned: bool, environment: dict[str, str]) -> Running:
        """On another port when somebody was quicker on this one."""
        server = self.servers[name]
        if server.kind is Kind.PEER:
            environment = {"PYTHONPATH": str(APPS), **environment}
        for attempt in range(1, PORT_ATTEMPTS + 1):
            command = server.command(self.programs, order)
            output = order.scratch / "output"
            cpus = self.server_cpus if pinned else None
            directory = order.scratch
            running = start(name, command, order.port, output, cpus=cpus, directory=directory, environment=environment)
            try:
                wait_for_answer(running, self._probe(server, exchange))
            except BaseException as error:
                running.stop()
                taken = isinstance(error, ServerError) and "in use" in output.read_text("utf-8", "replace")
                if not taken or attempt == PORT_ATTEMPTS:
                    raise
                order = replace(order, port=free_port())
                output.unlink()
                continue
            self.commands.setdefault(name, self._shown(command, order))
            return running
        raise AssertionError("unreachable")

    def _shown(self, command: list[str], order: Order) -> str:
        """A command as anybody could type it: without the paths of this machine."""
        peers, ours = str(Path(self.programs.peers).parent), self.programs.ours
        text = " ".join(command).replace(str(order.scratch), "SCRATCH").replace(str(self.scratch), "SCRATCH")
        text = text.replace(str(ROOT), ".").replace(str(order.port), "PORT")
        if ":" in order.metrics:
            text = text.replace(order.metrics, "127.0.0.1:PORT")
        home = str(Path(self.programs.peers).parents[1])
        return text.replace(ours, "python").replace(f"{peers}/", "").replace(home, "VENV")

    def _probe(self, server: Server, exchange: Exchange) -> Probe:
        if server.name.startswith("echo-"):
            return complaint_echo
        return partial(complaint, exchange=exchange, keeps_alive=server.keeps_alive)

    def load(self, running: Running, workload: Workload) -> Loaded:
        """Warm up, then load a running server with wrk. Raises LoadError."""
        if self.warm_up:
            self.wrk(running, workload, self.warm_up)
        before, each, busy = running.cpu(), running.cpu_of_each(), machine_busy()
        load = self.wrk(running, workload, self.seconds)
        after, each_after, busy_after = running.cpu(), running.cpu_of_each(), machine_busy()
        sample = make_sample(load, after - before, busy_after - busy, running.pss())
        self.others.append(sample.others)
        used = sorted((spent - each.get(pid, 0.0) for pid, spent in each_after.items()), reverse=True)
        return Loaded(sample, load, [spent / sum(used) for spent in used] if sum(used) else [])

    def wrk(self, running: Running, workload: Workload, seconds: float) -> Load:
        """Load a running server for so long. Raises LoadError."""
        body = self.scratch / f"{workload.name}.body" if workload.body else None
        if body is not None and not body.exists():
            body.write_bytes(workload.body)
        return run_wrk(
            f"http://127.0.0.1:{running.port}/",
            seconds=seconds,
            connections=workload.connections,
            script=workload.script,
            body=body,
            cpus=self.load_cpus,
        )

    def open_loop(self, plan: Plan) -> dict[str, Any]:
        """Load at a fixed rate, from the load's core. Raises LoadError."""
        return run_apart(plan, self.load_cpus)


def wait_for_answer(running: Running, probe: Probe) -> float:
    """Wait until the server has answered rightly; seconds since it was started. Raises ServerError."""
    deadline = running.started + START_SECONDS
    while True:
        if running.process.poll() is not None:
            raise ServerError(f"{running.name} ended: {running.last_output()}")
        try:
            wrong = probe(running.port)
            break
        except (OSError, http.client.HTTPException, NotYet) as error:
            if time.monotonic() > deadline:
                raise ServerError(f"no answer: {error!r}: {running.last_output()}") from error
            time.sleep(0.002)
    if wrong:
        raise WrongAnswer(f"answers wrongly: {wrong}")
    return time.monotonic() - running.started
