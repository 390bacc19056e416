"""How many requests each worker has answered, as our metrics count them."""

from __future__ import annotations

import re
import urllib.request

from bench.processes import ServerError

SECONDS = 10.0  # for an answer
_ANSWERED = re.compile(r'^miniwsgi_worker_requests_total\{slot="(\d+)"\} (\S+)$', re.MULTILINE)


def parse(text: str) -> dict[int, int]:
    """Requests by slot, of what /metrics says."""
    return {int(slot): int(float(count)) for slot, count in _ANSWERED.findall(text)}


def answered(address: str) -> dict[int, int]:
    """Requests by slot so far, of who serves metrics at `address` ("HOST:PORT"). Raises ServerError."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as response:
            found = parse(response.read().decode())
    except OSError as error:
        raise ServerError(f"metrics at {address}: {error}") from error
    if not found:
        raise ServerError(f"metrics at {address} name no worker")
    return found


def shares(before: dict[int, int], after: dict[int, int]) -> list[float]:
    """Each worker's part of the requests between two looks, the largest first; [] of none."""
    counts = sorted((count - before.get(slot, 0) for slot, count in after.items()), reverse=True)
    return [count / sum(counts) for count in counts] if sum(counts) else []
