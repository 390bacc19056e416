"""One measurement of one server: started afresh, verified to answer rightly, warmed up, loaded, stopped.

A `Bench` holds what is the same for all of them: interpreters, cores, durations, a scratch directory.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Load, run_wrk
from bench.openloop import Plan, run_apart
from bench.peers import Environment
from bench.processes import Cpu, Running, ServerError, free_port, machine_busy, start
from bench.servers import SERVERS, Order

START_SECONDS = 20.0
BODY = b"Hello, world!\n"


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of a server."""

    name: str
    application: str  # MODULE:ATTRIBUTE in bench/apps
    script: str | None = None  # for wrk, in bench/wrk
    connections: int = 64
    threads: int | None = None  # None: the server's own default
    access_log: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One server under one workload in one round."""

    rate: float  # requests a second
    user_us: float  # processor time of the server's tree a request, in µs
    system_us: float
    p50: float  # seconds
    p99: float
    errors: int
    saturated: bool  # wrk had no processor time to spare
    others: float = 0.0  # processors that neither the server nor wrk kept busy: a machine that is not quiet

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


def make_sample(load: Load, cpu: Cpu, busy: float = 0.0) -> Sample:
    """What wrk saw and what the server used meanwhile, as one sample; `busy`: seconds of all processors."""
    requests = max(1, load.requests)
    return Sample(
        rate=load.rate,
        user_us=cpu.user / requests * 1e6,
        system_us=cpu.system / requests * 1e6,
        p50=load.latency.get(50.0, 0.0),
        p99=load.latency.get(99.0, 0.0),
        errors=load.errors,
        saturated=load.saturated,
        others=max(0.0, (busy - cpu.total) / load.seconds - load.generator_cpu) if load.seconds else 0.0,
    )


@dataclass
class Bench:
    """What every measurement shares."""

    python: str  # miniwsgi's interpreter
    peers: Environment
    scratch: Path
    seconds: float
    warm_up: float = 0.5
    server_cpus: list[int] = field(default_factory=list)
    load_cpus: list[int] = field(default_factory=list)
    started: int = 0
    others: list[float] = field(default_factory=list)  # of every sample

    def missing(self, server: str) -> str:
        """Why a server cannot take part; "" when it can."""
        return self.peers.missing.get(SERVERS[server].package, "")

    @contextmanager
    def serving(
        self,
        server: str,
        order: Order,
        *,
        pinned: bool = True,
        environment: dict[str, str] | None = None,
    ) -> Iterator[Running]:
        """A server that runs and has answered rightly. Raises ServerError."""
        definition = SERVERS[server]
        python = self.python if definition.package == "miniwsgi" else self.peers.python
        self.started += 1
        output = self.scratch / f"{self.started:03}-{server}.log"
        running = start(
            server,
            definition.command(python, order),
            order.port,
            output,
            cpus=self.server_cpus if pinned else None,
            directory=self.scratch,
            environment=environment,
        )
        try:
            wait_for_answer(running)
            yield running
        finally:
            running.stop()

    def order(self, workload: Workload, workers: int = 1) -> Order:
        """How a workload is to be served, on a port that is free now."""
        log = self.scratch / f"access-{self.started}.log" if workload.access_log else None
        return Order(workload.application, free_port(), workers, workload.threads, log)

    def load(self, running: Running, workload: Workload) -> Sample:
        """Warm up, then load a running server with wrk."""
        url = f"http://127.0.0.1:{running.port}/"
        if self.warm_up:
            self._wrk(url, workload, self.warm_up)
        before, busy = running.cpu(), machine_busy()
        load = self._wrk(url, workload, self.seconds)
        sample = make_sample(load, running.cpu() - before, machine_busy() - busy)
        self.others.append(sample.others)
        if not load.requests:
            raise ServerError(f"{running.name}: no request was answered: {running.last_output()}")
        return sample

    def _wrk(self, url: str, workload: Workload, seconds: float) -> Load:
        return run_wrk(
            url,
            seconds=seconds,
            connections=workload.connections,
            script=workload.script,
            cpus=self.load_cpus,
        )

    def open_loop(self, plan: Plan) -> dict[str, Any]:
        """Load at a fixed rate, from the load's core."""
        return run_apart(plan, self.load_cpus)


def wait_for_answer(running: Running) -> float:
    """Wait until the server has answered; seconds since it was started. Raises ServerError."""
    deadline = running.started + START_SECONDS
    while True:
        if running.process.poll() is not None:
            raise ServerError(f"{running.name} ended: {running.last_output()}")
        try:
            answers = ask_twice(running.port)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ServerError(f"{running.name}: {error}: {running.last_output()}") from error
            time.sleep(0.002)
    waited = time.monotonic() - running.started
    for answer in answers:
        if complaint := check_answer(answer):
            raise ServerError(f"{running.name} answered wrongly: {complaint}")
    return waited


def ask_twice(port: int) -> list[bytes]:
    """Two requests on one connection; their responses as received. Raises OSError."""
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as sock:
        for _ in range(2):
            sock.sendall(request)
            answer = b""
            while not answer.endswith(BODY):
                data = sock.recv(65536)
                if not data:
                    break
                answer += data
            answers.append(answer)
    return answers


def check_answer(answer: bytes) -> str:
    """What is wrong with a response to hello-world; "" when it is right."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if not answer:
        return "closed the connection without an answer"
    if not status.startswith(b"HTTP/1.1 200"):
        return json.dumps(status.decode("latin-1"))
    if body != BODY:
        return f"the body is {body[:40]!r}"
    if fields.get(b"content-length") != str(len(BODY)).encode():
        return "Content-Length is missing or wrong"
    if fields.get(b"connection", b"").lower() == b"close":
        return "does not keep the connection alive"
    return ""
