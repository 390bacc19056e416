"""A daemon under mixed traffic while it is reloaded, scaled, restarted and recycled all the time: does anything grow?

    python -m tests.soak --minutes 30 [--pool epoll] [--plot FILE.svg] [--json FILE]

Exit status 1 when a request failed, a counter is wrong, something is left over, or a series grows; see run.py for the
thresholds and trend.py for the test. It takes about a quarter of a core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .run import Settings, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pool", choices=["epoll", "prefork", "fork"], default="epoll")
    parser.add_argument("--rate", type=float, default=80.0, help="requests a second, about")
    parser.add_argument("--every", type=float, default=8.0, help="seconds between changes, on average")
    parser.add_argument("--calm", action="store_true", help="no changes and no recycling: long-lived workers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="a plot of the run (needs matplotlib)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures")
    options = parser.parse_args()
    if options.plot:
        from . import plot  # fails now rather than in half an hour
    settings = Settings(
        options.minutes * 60, options.pool, options.rate, options.every, calm=options.calm, seed=options.seed
    )
    result = soak(settings, lambda line: print(line, flush=True))
    print(result)
    if options.json:
        options.json.write_text(json.dumps(result.as_json(), indent=1) + "\n", "utf-8")
    if options.plot:
        plot.draw(result, options.plot)
    return 1 if result.complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
