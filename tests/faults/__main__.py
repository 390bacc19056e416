"""Run every fault in every pool, and print what was lost, what might have been, and what is left over.

    python -m tests.faults [--seconds 60] [--only NAME …] [--pool POOL …]

`--seconds` is for each storm of blows; MINIWSGI_TEST_FULL=1 has a gibibyte written to standard error. Exit status 1
when a promise was broken.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from . import application_faults, kill_faults
from .stage import POOLS, Outcome, Stage


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each storm lasts (60)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the faults")
    parser.add_argument("--pool", nargs="+", choices=POOLS, default=list(POOLS))
    options = parser.parse_args()
    known = list(dict.fromkeys(name for name, *_ in _plays()))
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"no fault is called {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    kill_faults.storm_seconds = options.seconds
    broken = 0
    print(f"{'fault':26} {'pool':8} {'requests':>8} {'lost':>6} {'allowed':>7} {'recovered':>9}  left over")
    for name, pools, configuration, play in _plays():
        if not options.only or name in options.only:
            for pool in (pool for pool in options.pool if pool in pools):
                broken += not _report(name, pool, configuration, play)
    print(f"\n{broken} promises were broken" if broken else "\nall is as promised")
    return 1 if broken else 0


Play = Callable[[Stage], Outcome]


def _plays() -> Iterator[tuple[str, Collection[str], str, Play]]:
    """Name, pools, configuration, and what is to be done with a stage."""
    for fault in (*kill_faults.FAULTS, *application_faults.FAULTS):
        yield fault.name, fault.pools, fault.configuration, lambda stage, fault=fault: stage.play(fault)
    for number in kill_faults.LETHAL:
        yield f"master_{number.name}", POOLS, "", lambda stage, number=number: kill_faults.kill_master(stage, number)


def _report(name: str, pool: str, configuration: str, play: Play) -> bool:
    with tempfile.TemporaryDirectory(prefix="miniwsgi-fault-") as directory:
        try:
            with Stage(pool, Path(directory), configuration) as stage:
                outcome = play(stage)
        except Exception:
            print(f"{name:26} {pool:8} BROKEN\n{traceback.format_exc()}", flush=True)
            return False
    print(f"{name:26} {pool:8} {_row(outcome)}", flush=True)
    return True


def _row(outcome: Outcome) -> str:
    seconds = f"{outcome.seconds:.1f} s" if outcome.seconds is not None else "-"
    left = "; ".join(outcome.left_over) or "nothing"
    return f"{outcome.requests:8,} {outcome.lost:6} {outcome.allowed:7} {seconds:>9}  {left}"


if __name__ == "__main__":
    raise SystemExit(main())
