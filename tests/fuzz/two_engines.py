"""Two engines beside each other: `python -m tests.fuzz.two_engines --engines plain compiled --inputs 10000000`.

The same scripts are played to a worker of each; whatever differs of what is seen of them is a fault of one. The same
seed plays the same scripts. They come in batches, each with workers of its own, because a worker remembers; a script
that differs is made smaller, alone if it differs alone, else with those before it that it takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from miniwsgi.daemon.engine import choice

from .brief_tracebacks import brief_tracebacks
from .conversations import SERVERS, Script, make, simpler
from .engine_worker import Seen, Worker
from .minimise import minimised
from .playing import play

BATCH = 1500  # scripts on the same workers
MOST_FAULTS = 1  # that are looked into: then it is over
SHRINKING_SECONDS = 60.0
TELL_SECONDS = 30.0

_SHORTEST = 3  # an entry of `Seen.steps` that is longer tells of a call

Engines = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differed first, by its name, and what each engine had there."""

    name: str
    one: object
    other: object

    def __str__(self) -> str:
        return f"{self.name}:\n    {self.one!r:.1500}\n    {self.other!r:.1500}"


@dataclass(slots=True)
class Report:
    """What a run came to."""

    inputs: int = 0
    requests: int = 0
    seconds: float = 0.0
    outcomes: Counter[tuple[str, object]] = field(default_factory=Counter)  # of which call, and which
    faults: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.inputs += other.inputs
        self.requests += other.requests
        self.outcomes += other.outcomes
        self.faults += other.faults


def difference(one: Seen, other: Seen) -> Difference | None:
    """The first; None: they are equal."""
    for name in Seen.__slots__:
        ours, theirs = getattr(one, name), getattr(other, name)
        if ours != theirs:
            return Difference(name, *_where(ours, theirs))
    return None


def _where(one: object, other: object) -> tuple[object, object]:
    """The parts that differ, of things that are alike in most."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name for name in one.keys() | other.keys() if one.get(name, ...) != other.get(name, ...)}
        return tuple({name: each[name] for name in names & each.keys()} for each in (one, other))  # type: ignore[return-value]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        at = next(at for at, (ours, theirs) in enumerate(zip(one, other, strict=True)) if ours != theirs)
        ours, theirs = _where(one[at], other[at])
        return {at: ours}, {at: theirs}
    return one, other


@brief_tracebacks()
def differing(engines: Engines, scripts: Sequence[Script]) -> Difference | None:
    """Of these scripts on new workers, one after the other: what differs at the last one, or before."""
    workers: dict[str, list[Worker]] = {}
    for script in scripts:
        if script.server not in workers:
            workers[script.server] = [Worker(engine, script.server) for engine in engines]
        one, other = (play(worker, script, closely=True) for worker in workers[script.server])
        if found := difference(one, other):
            return found
    return None


@brief_tracebacks()
def batch(engines: Engines, seed: int, first: int, count: int) -> Report:
    """The inputs from this number on."""
    report = Report(inputs=count)
    began = time.monotonic()
    workers = {name: [Worker(engine, name) for engine in engines] for name in SERVERS}
    for number in range(first, first + count):
        script = make(seed, number)
        one, other = (play(worker, script) for worker in workers[script.server])
        report.requests += len(one.environs)
        report.outcomes.update([step[:2] for step in one.steps if len(step) > _SHORTEST])  # type: ignore[arg-type, index]
        if found := difference(one, other):
            report.inputs = number - first + 1
            report.faults.append(told(engines, seed, first, number, found))
            break
    else:
        for pair in workers.values():
            if found := difference(*(worker.look() for worker in pair)):
                report.faults.append(told(engines, seed, first, first + count - 1, found))
                break
    report.seconds = time.monotonic() - began
    return report


def told(engines: Engines, seed: int, first: int, number: int, seen: Difference) -> str:
    """A fault, and the smallest scripts that show it."""
    scripts = [make(seed, each) for each in range(first, number + 1)]
    before = [script for script in scripts[:-1] if script.server == scripts[-1].server]  # workers share nothing
    again = f"--seed {seed} --first {first} --inputs {number - first + 1}"
    where = f"seed {seed}, number {number} (again: --engines {' '.join(engines)} {again})"
    for candidates in ([scripts[-1]], [*before, scripts[-1]], scripts):
        found = differing(engines, candidates)
        if found:
            scripts = smallest(engines, candidates, found.name)
            found = differing(engines, scripts) or found
            shown = "\n  ".join(map(repr, scripts))
            return f"{where}: {found}\n  {shown}"
    return f"{where}, in the batch from {first}, and not when that is played again: {seen}"


def smallest(engines: Engines, scripts: Sequence[Script], name: str) -> list[Script]:
    """As few and as simple as can be found in a time, that differ in what has this name."""
    deadline = time.monotonic() + SHRINKING_SECONDS

    def shows(candidates: Sequence[Script]) -> bool:
        if time.monotonic() > deadline:
            return False
        try:
            found = differing(engines, candidates)
        except AssertionError:
            return False
        return found is not None and found.name == name

    scripts = list(scripts)
    size = len(scripts) // 2
    while size:
        for at in range(0, len(scripts) - 1, size):
            fewer = scripts[:at] + scripts[at + size :]
            if fewer and shows(fewer):
                scripts = fewer
                break
        else:
            size //= 2
    again = True
    while again:
        again = False
        for at, script in enumerate(scripts):
            for less in (
                *simpler(script),
                *_shorter(script, lambda one, at=at: shows([*scripts[:at], one, *scripts[at + 1 :]])),
            ):
                if less != script and shows([*scripts[:at], less, *scripts[at + 1 :]]):
                    scripts[at] = less
                    again = True
                    break
            if again:
                break
    return scripts


def _shorter(script: Script, shows: Callable[[Script], bool]) -> Iterator[Script]:
    """The script with shorter pieces."""
    for at, piece in enumerate(script.pieces):

        def with_piece(data: bytes, at: int = at) -> Script:
            return replace(script, pieces=(*script.pieces[:at], data, *script.pieces[at + 1 :]))

        yield with_piece(minimised(piece, lambda data: bool(data) and shows(with_piece(data)), attempts=400))


def _batches(inputs: int, first: int) -> Iterator[tuple[int, int]]:
    for at in range(first, first + inputs, BATCH):
        yield at, min(BATCH, first + inputs - at)


def compare(engines: Engines, seed: int, inputs: int, *, first: int = 0, jobs: int = 1) -> Report:
    """All inputs, in so many processes."""
    report = Report()
    began = time.monotonic()
    tasks = ((engines, seed, at, count) for at, count in _batches(inputs, first))
    if jobs == 1:
        results: Iterator[Report] = (batch(*task) for task in tasks)
        _collect(report, results)
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            _collect(report, pool.imap(_batch, tasks))
    report.seconds = time.monotonic() - began
    return report


def _batch(task: tuple[Engines, int, int, int]) -> Report:
    return batch(*task)


def _collect(report: Report, results: Iterator[Report]) -> None:
    began = time.monotonic()
    next_told = began + TELL_SECONDS
    for each in results:
        report.add(each)
        if len(report.faults) >= MOST_FAULTS:
            return  # whoever is at another batch is stopped
        if (now := time.monotonic()) >= next_told:
            next_told = now + TELL_SECONDS
            rate = report.inputs / (now - began)
            print(f"    {report.inputs} inputs, {rate:.0f} a second, {len(report.faults)} faults", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when nothing differed, 1 when something did, 2 when there are no two engines to compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.two_engines", description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", nargs=2, metavar="NAME", help="by default plain and the fastest there is")
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the first input")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    engines = options.engines or ("plain", choice.choose(choice.AUTO).name)
    if not options.engines and engines[0] == engines[1]:
        print("there is no engine here to be compared with the plain one", file=sys.stderr)
        return 2
    print(f"{' and '.join(engines)}, seed {options.seed}", flush=True)
    report = compare(tuple(engines), options.seed, options.inputs, first=options.first, jobs=options.jobs)
    rate = report.inputs / max(report.seconds, 0.001)
    print(f"    {report.inputs} inputs, {report.requests} requests in {report.seconds:.0f} s, {rate:.0f} a second")
    print(
        "    "
        + ", ".join(
            f"{call} {getattr(outcome, 'name', outcome)}: {count}"
            for (call, outcome), count in report.outcomes.most_common()
        )
    )
    for fault in report.faults:
        print(f"    FAULT {fault}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
