"""`python -m tests.conformance --port N`: a report by topic on whatever WSGI server listens there.

The server must serve `application:application` of this directory, with its defaults. Cases that need a configuration
of ours (small limits, a trusted proxy, a prefix) are left out unless `--profile` names it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict

from .runner import Effort, Target, Verdict, check
from .tables import CASES


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every case passed, 1 when not."""
    options = parse(arguments)
    chosen = [
        case
        for case in CASES
        if options.topic.lower() in case.topic.lower() and options.case.lower() in str(case).lower()
    ]
    target = Target(
        address=(options.host, options.port),
        unix=options.unix,
        profile=options.profile,
        concurrency=options.concurrency,
        strict=not options.lenient,
        deadline_seconds=options.deadline,
    )
    effort = Effort(splits=-1 if options.thorough else 6)
    if options.quick:
        effort = Effort(bytewise=False, splits=0, behind=False)
    started = time.monotonic()
    verdicts = check(target, chosen, effort)
    if options.json:
        print(json.dumps([{"topic": v.case.topic, "name": v.case.name, "faults": v.faults} for v in verdicts]))
    else:
        report(verdicts, time.monotonic() - started, options.faults)
    return 0 if verdicts and all(verdict.passed for verdict in verdicts) else 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unix", default="", metavar="PATH", help="the same server's Unix socket, if it has one")
    parser.add_argument("--profile", default="plain", help="plain (the default), small, trusted or prefix")
    parser.add_argument("--topic", default="", help="only topics that contain this")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--concurrency", type=int, default=32, help="1 for a server that holds one connection")
    parser.add_argument("--lenient", action="store_true", help="only what the specifications demand")
    parser.add_argument("--quick", action="store_true", help="each case whole, once")
    parser.add_argument("--thorough", action="store_true", help="split short messages at every place")
    parser.add_argument("--faults", type=int, default=1, metavar="N", help="faults shown a case")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds that an answer may take")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the report")
    return parser.parse_args(arguments)


def report(verdicts: list[Verdict], seconds: float, faults: int) -> None:
    """A table of topics, each with the cases that failed below it."""
    topics: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        topics[verdict.case.topic].append(verdict)
    for topic, members in topics.items():
        passed = sum(verdict.passed for verdict in members)
        print(f"{topic:22} {passed:4} of {len(members):4}")
        for verdict in members:
            if not verdict.passed:
                print(f"    {verdict.case.name}")
                for fault in verdict.faults[:faults]:
                    print(f"        {fault}")
                if len(verdict.faults) > faults:
                    print(f"        … {len(verdict.faults)} of {verdict.deliveries} deliveries")
    passed = sum(verdict.passed for verdict in verdicts)
    deliveries = sum(verdict.deliveries for verdict in verdicts)
    print(f"{'all':22} {passed:4} of {len(verdicts):4}   {deliveries} connections in {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
