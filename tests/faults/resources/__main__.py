"""Do every fault to every pool, at full size, and print what was counted.

    python -m tests.faults.resources [--only WORD …] [--pools NAME …] [--short]

Exit status 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback

from .catalogue import FAULTS, name_of
from .stage import POOLS, Impossible, Outcome, Stage

HEAD = f"{'fault':34} {'pool':8} {'requests':>9} {'lost':>14} {'allowed':>14} {'recovery':>9}  left over"


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through all contexts: nothing is left behind
    broken = 0
    print(HEAD, flush=True)
    for fault in FAULTS:
        if options.only and not any(word in fault.function.__name__ for word in options.only):
            continue
        for pool in fault.pools:
            if pool not in options.pools:
                continue
            begin = time.monotonic()
            try:
                with Stage(pool, full=not options.short) as stage:
                    row = _row(name_of(fault), pool, fault.function(stage), time.monotonic() - begin)
            except Impossible as reason:
                row = f"{name_of(fault):34} {pool:8} not possible here: {reason}"
            except Exception:
                broken += 1
                row = f"{name_of(fault):34} {pool:8} BROKEN\n{traceback.format_exc()}"
            print(row, flush=True)
    print(f"{broken} broken")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.resources", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults with one of these in their name")
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=list(POOLS))
    parser.add_argument("--short", action="store_true", help="the sizes of the tests")
    options = parser.parse_args()
    names = [fault.function.__name__ for fault in FAULTS]
    if options.only and not any(word in name for word in options.only for name in names):
        parser.error(f"no fault has {' or '.join(options.only)} in its name; known are {', '.join(names)}")
    return options


def _row(name: str, pool: str, outcome: Outcome, seconds: float) -> str:
    lost = ", ".join(f"{count} {kind}" for kind, count in outcome.lost.items()) or "0"
    left = "; ".join(outcome.left) or "nothing"
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    return (
        f"{name:34} {pool:8} {outcome.requests:9,} {lost:>14} {outcome.allowed:>14} {outcome.seconds:7.1f} s  "
        f"{left}{notes} [{seconds:.0f} s]"
    )


if __name__ == "__main__":
    raise SystemExit(main())
