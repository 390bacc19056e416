"""A profile in a few lines: how much was seen of whom, and where most of the time went."""

from __future__ import annotations

from typing import Any

from .. import text
from ..options import Session
from ..profiles.profile import Clock, Profile, heaviest
from .stack_view import folded

TOP = 12
ROUTES = 8
WORTH_TELLING = 0.05  # of what is shown


def lines(profile: Profile, clock: Clock, session: Session) -> list[str]:
    """What `profile` prints when it is over."""
    total = profile.total_ns(clock)
    workers = sum(1 for seen in profile.workers.values() if seen.looks)
    said = f"{text.count(workers, 'worker')}, {profile.seconds:.1f} s, {text.count(profile.samples, 'sample')}"
    found = [f"{said}; {text.seconds(total / 1e9)} of {clock.noun} in all threads"]
    if total:
        rows = [
            (text.share(one.own_ns / total), text.share(one.total_ns / total), one.frame.name)
            for one in heaviest(profile, clock, TOP)
        ]
        header = ("SELF", "TOTAL", "FUNCTION")
        found += ["", *text.table(header, rows, right="rr", width=session.width(), heading=session.heading)]
    routes = [(route, spent) for route, spent in profile.routes.most_common(ROUTES) if route]
    if routes:
        whole = profile.routes.total()
        shares = [(text.share(spent / whole), route) for route, spent in routes]
        columns = ("REQUESTS' TIME", "ROUTE")
        found += ["", *text.table(columns, shares, right="r", width=session.width(), heading=session.heading)]
    return found


def notes(profile: Profile, clock: Clock) -> list[str]:
    """What the profile does not show, and why."""
    found = []
    for slot, seen in sorted(profile.workers.items()):
        if seen.trouble:
            found.append(seen.trouble if f"worker {slot} " in seen.trouble else f"worker {slot}: {seen.trouble}")
            if seen.stacks:
                found.append(folded(seen.stacks))
        if cut := seen.end.get("cut_stacks", 0):
            found.append(
                f"worker {slot}: {text.count(cut, 'sample')} are shown only in part: too many different stacks"
            )
        if cut := seen.end.get("cut_depth", 0):
            found.append(f"worker {slot}: the outermost calls of {text.count(cut, 'sample')} are missing: too deep")
        if cut := seen.end.get("cut_rows", 0):
            found.append(f"worker {slot}: {text.count(cut, 'sample')} are not shown: there was too much in one second")
        elsewhere = seen.end.get("elsewhere_ns", 0)
        if clock is Clock.CPU and elsewhere > profile.total_ns(clock) * WORTH_TELLING:
            spells = f"{text.seconds(elsewhere / 1e9)} on the CPU, in short spells between looks, are not shown"
            found.append(f"worker {slot}: {spells}")
        if unknown := seen.end.get("no_clock", 0):
            threads = text.count(unknown, "thread")
            found.append(f"worker {slot}: the CPU time of {threads} is not known: not made by threading")
    return found


def summary(profile: Profile, clock: Clock, file: str) -> dict[str, Any]:
    """The same for programs."""
    total = profile.total_ns(clock)
    return {
        "file": file or None,
        "clock": clock.value,
        "seconds": profile.seconds,
        "samples": profile.samples,
        "total_seconds": total / 1e9,
        "top": [
            {
                "function": one.frame.function,
                "file": one.frame.file,
                "line": one.frame.line or None,
                "self_seconds": one.own_ns / 1e9,
                "total_seconds": one.total_ns / 1e9,
            }
            for one in heaviest(profile, clock, TOP)
        ],
        "routes": {route or None: spent / 1e9 for route, spent in profile.routes.items() if route},
        "notes": notes(profile, clock),
    }
