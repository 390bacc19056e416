"""Run every scenario under load for Flask and Django, and print what was counted.

    python -m tests.integration.evidence

Exit status 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from pathlib import Path

from tests.support.shops import SHOPS, Site

from .scenarios import SCENARIOS, describe


def main() -> int:
    about = (__doc__ or "").splitlines()[0]
    argparse.ArgumentParser(prog="python -m tests.integration.evidence", description=about).parse_args()
    broken = 0
    for scenario in SCENARIOS:
        print(f"\n{describe(scenario)}")
        for shop in SHOPS:
            begin = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="miniwsgi-evidence-") as directory:
                try:
                    counted = scenario(Site(shop, Path(directory)))
                except AssertionError:
                    broken += 1
                    counted = "BROKEN\n" + traceback.format_exc()
            print(f"  {shop.name:6} {time.monotonic() - begin:5.1f} s  {counted}", flush=True)
    print(f"\n{len(SCENARIOS) * len(SHOPS) - broken} passed, {broken} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
