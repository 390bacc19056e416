"""`python -m tests.fuzz --seconds 60 --seed 1 --pool epoll-1`: the live fuzzer on our daemon, in each pool or in some.

The same seed sends the same inputs; `--first N --inputs 1` sends one of them again. Exit status 1 if anything was
found.
"""

from __future__ import annotations

import argparse
import sys

from .live import POOLS, Report, fuzz


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each pool")
    parser.add_argument("--inputs", type=int, default=0, help="so many in each pool, instead of --seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the first input")
    parser.add_argument("--pool", default="", help="only pools that contain this")
    options = parser.parse_args(arguments)
    good = True
    for pool in POOLS:
        if options.pool in pool.name:
            print(f"{pool.name}, seed {options.seed}", flush=True)
            seconds = 0.0 if options.inputs else options.seconds
            report = fuzz(pool, options.seed, inputs=options.inputs, seconds=seconds, first=options.first)
            show(report)
            good = good and not report.faults
    return 0 if good else 1


def show(report: Report) -> None:
    """The figures of a pool, and each fault."""
    rate = report.inputs / max(report.seconds, 0.001)
    print(f"    inputs   {report.inputs} in {report.seconds:.0f} s, {rate:.0f} a second")
    print("    answers ", ", ".join(f"{status}: {count}" for status, count in sorted(report.answers.items())))
    print("    ends    ", ", ".join(f"{end.value}: {count}" for end, count in report.ends.most_common()))
    print(
        f"    memory   {report.first_bytes / 2**20:.1f} MiB before, {report.last_bytes / 2**20:.1f} MiB after, "
        f"{report.slope:+.0f} bytes an input in the last two thirds"
    )
    for fault in report.faults:
        print(f"    FAULT {fault}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
