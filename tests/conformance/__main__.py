"""`python -m tests.conformance`: a report by section, on our own daemon in each pool or on any other WSGI server.

With `--port` it asks whatever listens there, which must serve `application:application` of this directory with its
defaults; cases that need a configuration of ours are then left out unless `--profile` names it, and with `--lenient`
those that no specification decides. Without, it starts our daemon in each pool and profile. Exit status: 0 when every
case passed, 1 when not, 2 when none was asked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from .case import Case
from .demands import exemption
from .runner import EVERY_WAY, QUICK, Effort, Target, Verdict, check
from .server import POOLS, PROFILES, Pool, Server
from .tables import CASES

TOPIC_WIDTH = max(len(case.topic) for case in CASES)


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when every case passed, 1 when not, 2 when none was asked."""
    options = parse(arguments)
    chosen = [
        case
        for case in CASES
        if options.topic.lower() in case.topic.lower() and options.case.lower() in str(case).lower()
    ]
    asked = failed = 0
    for title, verdicts, seconds in ask_port(options, chosen) if options.port else ask_ours(options, chosen):
        asked += len(verdicts)
        failed += sum(not verdict.passed for verdict in verdicts)
        if options.json:
            print(json.dumps([{"topic": v.case.topic, "name": v.case.name, "faults": v.faults} for v in verdicts]))
        else:
            report(title, verdicts, seconds, options.faults)
    if not asked:
        print("no case was asked: see --topic, --case, --pool and --profile", file=sys.stderr)
        return 2
    return 1 if failed else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, help="of the server to ask; without it, our own daemon is started")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--unix", default="", metavar="PATH", help="the same server's Unix socket, if it has one")
    parser.add_argument("--profile", default="plain", choices=PROFILES, help="how the server is configured")
    parser.add_argument("--concurrency", type=int, default=32, help="1 for a server that holds one connection")
    parser.add_argument("--lenient", action="store_true", help="only what the specifications demand: for other servers")
    parser.add_argument("--pool", default="", help="of our own daemon, only pools that contain this")
    parser.add_argument("--topic", default="", help="only topics that contain this")
    parser.add_argument("--case", default="", help="only cases whose topic and name contain this")
    parser.add_argument("--quick", action="store_true", help="each case whole, once")
    parser.add_argument("--thorough", action="store_true", help="split at every place, in every pool")
    parser.add_argument("--faults", type=int, default=1, metavar="N", help="faults shown a case")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds that an answer may take")
    parser.add_argument("--json", action="store_true", help="one JSON list a server instead of the report")
    return parser.parse_args(arguments)


Report = tuple[str, list[Verdict], float]


def ask_port(options: argparse.Namespace, cases: Sequence[Case]) -> Iterator[Report]:
    target = Target(
        address=(options.host, options.port),
        unix=options.unix,
        profile=options.profile,
        concurrency=options.concurrency,
        strict=not options.lenient,
        deadline_seconds=options.deadline,
    )
    if options.lenient:
        cases = [case for case in cases if not exemption(case)]
    started = time.monotonic()
    verdicts = check(target, cases, effort(options, Effort()))
    yield f"{options.host}:{options.port}", verdicts, time.monotonic() - started


def ask_ours(options: argparse.Namespace, cases: Sequence[Case]) -> Iterator[Report]:
    for pool in POOLS:
        if options.pool in pool.name:
            started = time.monotonic()
            verdicts: list[Verdict] = []
            for profile in PROFILES:
                verdicts += ask_pool(pool, profile, [case for case in cases if case.profile == profile], options)
            yield f"miniwsgi, pool {pool.name}", verdicts, time.monotonic() - started


def ask_pool(pool: Pool, profile: str, cases: Sequence[Case], options: argparse.Namespace) -> list[Verdict]:
    """The quick cases on one worker, then those about time, beside each other as far as the pool allows."""
    verdicts: list[Verdict] = []
    quick = [case for case in cases if not case.seconds]
    batches = [(quick, pool.concurrency, 1)]
    batches += [(slow, concurrency, pool.slow_workers) for slow, concurrency in pool.slow_batches(cases)]
    for chosen, concurrency, workers in batches:
        if chosen:
            with tempfile.TemporaryDirectory() as directory, Server(Path(directory), pool, profile, workers) as server:
                target = dataclasses.replace(server.target, concurrency=concurrency)
                verdicts += check(target, chosen, effort(options, pool.effort))
    return verdicts


def effort(options: argparse.Namespace, usual: Effort) -> Effort:
    if options.quick:
        return QUICK
    return EVERY_WAY if options.thorough else usual


class Paint(Enum):
    """Colours of a terminal (ECMA-48), for those that are one and do not say NO_COLOR."""

    BOLD = "1"
    GREEN = "32"
    RED = "31"

    def __call__(self, text: str) -> str:
        wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return f"\x1b[{self.value}m{text}\x1b[0m" if wanted else text


def report(title: str, verdicts: list[Verdict], seconds: float, faults: int) -> None:
    """A table of topics, each with the cases that failed below it."""
    print(Paint.BOLD(title))
    print(f"  {'section':{TOPIC_WIDTH}} {'passed':>6} {'failed':>6}")
    topics: dict[str, list[Verdict]] = {case.topic: [] for case in CASES}
    for verdict in verdicts:
        topics[verdict.case.topic].append(verdict)
    for topic, members in topics.items():
        if not members:
            continue
        print(row(topic, members))
        for verdict in members:
            if not verdict.passed:
                print(f"      {Paint.RED(verdict.case.name)}")
                for fault in verdict.faults[:faults]:
                    print(f"          {fault}")
                if len(verdict.faults) > faults:
                    print(f"          … {len(verdict.faults)} faults in {verdict.deliveries} deliveries")
    deliveries = sum(verdict.deliveries for verdict in verdicts)
    print(f"{row('all', verdicts)}   {deliveries} connections in {seconds:.1f} s", flush=True)


def row(topic: str, verdicts: Sequence[Verdict]) -> str:
    passed = sum(verdict.passed for verdict in verdicts)
    failed = len(verdicts) - passed
    failures = Paint.RED(f"{failed:6}") if failed else f"{'':6}"
    return f"  {topic:{TOPIC_WIDTH}} {Paint.RED(f'{passed:6}') if failed else Paint.GREEN(f'{passed:6}')} {failures}"


if __name__ == "__main__":
    sys.exit(main())
