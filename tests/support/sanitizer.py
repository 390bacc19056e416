"""Whether all runs under a sanitizer (`make test-asan`), and what a test must not ask for then: the one place."""

from __future__ import annotations

import os

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")

# Memory that was freed is kept for a while, 256 MiB of a process, so that its use is seen: no test of growth holds.
KEEPS_FREED_MEMORY = SANITIZED
# Clients of the tests are slower too, on top of what the machine is: so often may one test be tried again.
RETRIES_OF_A_TEST = 20 if SANITIZED else 2
