"""Which engine the servers under test run.

Tests of bytes (the tables, the conformance cases) take the fixture `engine`, and run on each engine there is. The
others run on what `auto` takes, unless MINIWSGI_SERVER_ENGINE names one: daemons inherit that variable, workers that a
test forks itself ask `CHOSEN`. `make test-engines` runs pools, faults and fuzz so, once for each name that
`python -m tests.support.engines` prints.
"""

from __future__ import annotations

import os

from miniwsgi.daemon.engine import choice

CHOSEN = os.environ.get("MINIWSGI_SERVER_ENGINE", choice.AUTO)
ENGINES = tuple(choice.available()) if CHOSEN == choice.AUTO else (CHOSEN,)

if __name__ == "__main__":
    print(*choice.available())
