"""The mutation fuzzer over a live port: a real daemon of one pool, batches of inputs, and what must hold after each.

After a batch: every answer belonged to its request, a fresh connection is served, the same workers live. In the end,
at rest: no descriptor more than before. A batch that harms the daemon as a whole is bisected on fresh daemons.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.case import get
from tests.conformance.exchange import End, Exchange, Send, run
from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.waiting import PATIENCE_SECONDS

from .inputs import CONFIGURATION, Ending, Input, faults, make
from .minimise import minimised
from .observation import Observation

SAMPLES = 60  # of memory, in a run of a known number of inputs
MINIMISING_ATTEMPTS = 300
MINIMISING_SECONDS = 60.0
HEALTHY = get(b"/", b"X-Id: at rest", b"Connection: close")
WARMING = 40  # requests before the first look: threads start, descriptors open


@dataclass(frozen=True, slots=True)
class Pool:
    """One way to serve, with as many clients at once as it can serve beside each other."""

    name: str
    kind: str
    threads: int
    workers: int
    concurrency: int


POOLS = (
    Pool("epoll-1", "epoll", 1, 1, 32),
    Pool("epoll-adaptive", "epoll", 8, 1, 32),
    Pool("prefork", "prefork", 1, 4, 4),
    Pool("fork", "fork", 20, 1, 8),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that should not have happened, with the input that made it happen as far as it is known."""

    pool: str
    seed: int
    what: str
    numbers: tuple[int, ...]
    data: bytes = b""

    def __str__(self) -> str:
        return (
            f"{self.pool}: {self.what}\n    seed {self.seed}, input {', '.join(map(str, self.numbers[:8]))}"
            f"\n    {self.data!r}"
        )


@dataclass(slots=True)
class Report:
    """What a run came to."""

    pool: Pool
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)  # by status
    ends: Counter[End] = field(default_factory=Counter)
    first_bytes: int = 0  # of memory, of all workers
    last_bytes: int = 0
    slope: float = 0.0  # bytes an input
    faults: list[Fault] = field(default_factory=list)


class Session:
    """A daemon of the pool that is being fuzzed."""

    def __init__(self, pool: Pool, daemon: Daemon, control: Control) -> None:
        self.pool = pool
        self.daemon = daemon
        self.observation = Observation(daemon, control)

    def begin(self) -> None:
        self.daemon.settle(self.pool.workers)
        self._run([Exchange([Send(HEALTHY)], seconds=PATIENCE_SECONDS) for _ in range(WARMING)])
        self.observation.begin()

    def send(self, inputs: Sequence[Input], report: Report) -> None:
        """Carry out these conversations and judge each."""
        exchanges = [item.exchange(PATIENCE_SECONDS) for item in inputs]
        self._run(exchanges)
        for item, exchange in zip(inputs, exchanges, strict=True):
            outcome = exchange.outcome
            assert outcome is not None
            report.inputs += 1
            report.ends[outcome.end] += 1
            report.answers.update(response.status for response in outcome.responses)
            if found := faults(item, outcome):
                report.faults.append(Fault(self.pool.name, report.seed, "; ".join(found), (item.number,), item.data))

    def harm(self) -> list[str]:
        """What is wrong with the daemon as a whole."""
        found = self.observation.deaths()
        probe = Exchange([Send(HEALTHY)], seconds=PATIENCE_SECONDS)
        self._run([probe])
        assert probe.outcome is not None
        if [response.status for response in probe.outcome.finals] != [200] or probe.outcome.violation:
            found.append(f"a fresh connection is not served: {probe.outcome}")
        return found

    def leaks(self) -> list[str]:
        """Descriptors that were not closed; waits for what is still closing."""
        self.observation.wait_for_rest()
        deadline = time.monotonic() + PATIENCE_SECONDS / 4
        while (found := self.observation.leaks()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [f"process {pid} has {more} descriptors more" for pid, more in found.items()]

    def _run(self, exchanges: list[Exchange]) -> None:
        run(exchanges, self.daemon.address, self.pool.concurrency)


@contextmanager
def serving(pool: Pool) -> Iterator[Session]:
    """A fresh daemon, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="miniwsgi-fuzz-") as name:
        directory = Path(name)
        configuration = directory / "miniwsgi.toml"
        configuration.write_text(CONFIGURATION, "utf-8")
        socket_path = directory / "control.sock"
        arguments = [
            "application:application", "--chdir", str(Path(__file__).parent), "-c", str(configuration),
            "--pool", pool.kind, "--threads", str(pool.threads), "--workers", str(pool.workers),
            "--control", str(socket_path),
        ]  # fmt: skip
        with Daemon(directory, *arguments) as daemon, Control(socket_path) as control:
            session = Session(pool, daemon, control)
            session.begin()
            yield session


def fuzz(pool: Pool, seed: int, *, inputs: int = 0, seconds: float = 0.0, first: int = 0) -> Report:
    """So many inputs from the number `first` on, or for so many seconds."""
    report = Report(pool, seed)
    batch = pool.concurrency * 4
    began = time.monotonic()
    with serving(pool) as session:
        observation = session.observation
        observation.sample(0)
        sampled = 0
        every = max(1, inputs // SAMPLES) if inputs else 500
        while not report.faults and (report.inputs < inputs or time.monotonic() - began < seconds):
            count = min(batch, inputs - report.inputs) if inputs else batch
            start = first + report.inputs
            chosen = [make(seed, number) for number in range(start, start + count)]
            session.send(chosen, report)
            if found := session.harm():  # what else was wrong in this batch came of that
                report.faults = [culprit(pool, seed, chosen, "; ".join(found))]
            if report.inputs - sampled >= every:
                sampled = report.inputs
                observation.sample(sampled)
        report.seconds = time.monotonic() - began
        if not report.faults:
            numbers = tuple(range(first, first + report.inputs))
            report.faults += [Fault(pool.name, seed, leak, numbers) for leak in session.leaks()]
            observation.sample(report.inputs)
        report.first_bytes, report.last_bytes = observation.samples[0][1], observation.samples[-1][1]
        report.slope = observation.slope()
    if report.faults and len(report.faults[0].numbers) == 1:
        report.faults[0] = smaller(pool, report.faults[0])
    return report


def culprit(pool: Pool, seed: int, inputs: Sequence[Input], what: str) -> Fault:
    """Which of the inputs harms a fresh daemon; all of them if none does so alone."""
    suspects = list(inputs)
    while len(suspects) > 1:
        half = len(suspects) // 2
        suspects = suspects[:half] if harms(pool, suspects[:half]) else suspects[half:]
    if not harms(pool, suspects):
        return Fault(pool.name, seed, what, tuple(item.number for item in inputs))
    return Fault(pool.name, seed, what, (suspects[0].number,), suspects[0].data)


def harms(pool: Pool, inputs: Sequence[Input]) -> bool:
    with serving(pool) as session:
        session.send(inputs, Report(pool, 0))
        return bool(session.harm())


def smaller(pool: Pool, fault: Fault) -> Fault:
    """The fault with fewer bytes, if they show one in one piece and alone."""
    original = make(fault.seed, fault.numbers[0])
    with serving(pool) as session:

        def shows(data: bytes) -> bool:
            report = Report(pool, fault.seed)
            session.send([Input(original.number, data, (data,), frozenset(), Ending.HALF_CLOSE, 1)], report)
            return bool(report.faults)

        if not shows(original.data):
            return fault
        give_up = time.monotonic() + MINIMISING_SECONDS
        data = minimised(original.data, lambda part: time.monotonic() < give_up and shows(part), MINIMISING_ATTEMPTS)
    return Fault(fault.pool, fault.seed, fault.what, fault.numbers, data)
