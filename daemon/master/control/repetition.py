"""Whether crashes repeat: whether most of the latest had the same request in hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from miniwsgi.manager import messages as ms

from .incident_records import name_of

LOOKED_AT = 10  # of the latest crashes
LEAST = 2  # that are the same
MOST_OF = 2 / 3


def repeated(latest: Iterable[ms.Crash]) -> str:
    """ "3 of the last 4 crashes: POST /report", of the crashes with requests in hand, the latest first; "" if not so.

    Where nobody knows which of several requests was to blame, all of them count. Requests that ran out of time are no
    crashes: they are counted by themselves, if the latest one of all is such.
    """
    counted: Counter[str] = Counter()
    best: tuple[int, int, str] | None = None
    looked_at, what = 0, ""
    for crash in latest:
        what = what or _what(crash)
        if _what(crash) != what:
            continue
        names = suspects(crash)
        if not names:
            continue
        looked_at += 1
        if looked_at > LOOKED_AT:
            break
        counted.update(names)
        # In the order of the counts, and of them the one that was seen in the latest crash first.
        name, count = counted.most_common(1)[0]
        if count >= LEAST and count >= looked_at * MOST_OF and (best is None or count > best[0]):
            best = count, looked_at, name
    return f"{best[0]} of the last {best[1]} {what}: {best[2]}" if best is not None else ""


def _what(crash: ms.Crash) -> str:
    return "timeouts" if crash.kind == "timeout" else "crashes"


def suspects(crash: ms.Crash) -> list[str]:
    """What it had in hand, each once: the culprit alone, if that is known; nothing, if it is none of them."""
    if crash.elsewhere:
        return []
    requests = crash.requests[:1] if crash.culprit_known else crash.requests
    return list(dict.fromkeys(name_of(request) for request in requests))
