"""Findings from evidence, the most telling first. Pure: it reads nothing but what it is given.

The order of rules is that of causes: what keeps a worker from running at all explains what its requests wait for; a
lock or the CPU explains why threads are busy; and only threads that are busy for no better reason are too few.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from miniwsgi.manager import messages as ms

from .evidence import Evidence
from .finding import finding
from .limits import dropped, not_accepted, saturated, too_few
from .onset import onset
from .picture import Picture
from .places import Doing
from .processor import held, processor, starved, starved_too, stopped, swapping, throttled
from .trouble import crashing, failing, losses, missing, not_serving, slow_lately
from .waiting import SEEN_THREADS, lock, route_lines, slow, slow_route, slow_worker, waits, waits_long
from .wording import count, number, percent, rate, seconds

RULES: tuple[Callable[[Picture], ms.Finding | None], ...] = (
    not_serving, crashing, stopped, held, throttled, swapping, lock, slow_worker, starved, processor, slow_route,
    waits_long,
    too_few, failing, not_accepted, dropped, slow, saturated, starved_too, missing, losses, waits, slow_lately,
)  # fmt: skip
TOLD = {
    "connections", "cpu", "deadlock", "gil-held", "lock", "slow-route", "starved", "stopped", "throttled", "waits",
}  # fmt: skip
ONCE = {  # what is not told beside others, which say more
    "waits": {"waits"}, "slow": TOLD, "losses": {"losses", "crashing"},
    "starved": {"starved", "throttled"},
    "not-accepted": {"gil-held", "starved", "stopped", "throttled"},
}  # fmt: skip
SHOWN_ROUTES = 5
DOING: dict[Doing, ms.Doing] = {
    Doing.LOCK: "lock", Doing.OTHERS: "others", Doing.POOL: "others", Doing.WAITS: "waits", Doing.RUNS: "runs",
}  # fmt: skip


def conclude(evidence: Evidence, at: datetime) -> ms.Why:
    """All that `why` says of it. Takes its time: many threads have long stacks."""
    picture = Picture(evidence)
    return ms.Why(at, round(evidence.seconds, 3), _findings(picture), _figures(picture), _thread_groups(picture))


def _findings(picture: Picture) -> list[ms.Finding]:
    """At least one: that nothing is wrong is one, too."""
    found: list[ms.Finding] = []
    for rule in RULES:
        told = rule(picture)
        if told is not None and not any(one.name in ONCE.get(told.name, {told.name}) for one in found):
            found.append(_sentence(told))
    wrong = [one for one in found if one.severity != "note"]
    notes = [one for one in found if one.severity == "note"]
    notes += [one for one in (_busiest(picture),) if one is not None]
    if not wrong:
        return [_well(picture), *notes]
    since = onset(picture.evidence)
    if since is None:
        return [*wrong, *notes]
    return [wrong[0], since, *wrong[1:], *notes] if since.severity != "note" else [*wrong, *notes, since]


def _figures(picture: Picture) -> ms.LookFigures:
    """What was measured."""
    return ms.LookFigures(
        answers=picture.answered,
        rate=round(picture.rate, 3),
        run_seconds=_rounded(picture.run_mean),
        queue_seconds=_rounded(picture.queue_mean),
        busy_threads=round(picture.busy, 2),
        threads=picture.capacity,
        waiting=round(picture.waiting, 2),
        cpu=round(picture.cpu, 3),
        cpus=picture.evidence.cpus,
        server_errors=picture.evidence.server_errors,
    )


def _thread_groups(picture: Picture) -> list[ms.ThreadGroup]:
    """Where threads were seen in requests."""
    return [
        ms.ThreadGroup(
            threads=round(group.threads, 2),
            file=group.place.where.file,
            line=group.place.where.line,
            function=group.place.where.function,
            call=group.place.call,
            doing=DOING[group.place.doing],
            request=group.request,
        )
        for group in picture.groups
        if group.threads >= SEEN_THREADS
    ]


def _well(picture: Picture) -> ms.Finding:
    evidence = picture.evidence
    there = f"{len(evidence.workers)} of {count(evidence.target_workers, 'worker')} ready"
    looked = f"in {seconds(evidence.seconds)} of looking"
    lines = [
        f"{there}; {number(picture.busy)} of {count(picture.capacity, 'thread')} busy, {number(picture.waiting)} "
        "requests waiting",
        f"workers used {picture.cpu:.2f} of {count(evidence.cpus, 'CPU')}",
    ]
    if not picture.answered and picture.busy < 0.5:
        sentence = f"Nothing is wrong to be seen: the daemon is idle, with no request {looked}, and {there}."
        return finding("healthy", "note", sentence, lines)
    mean = (picture.run_mean or 0.0) + (picture.queue_mean or 0.0)
    took = (
        f", {seconds(mean)} on average of which {seconds(picture.queue_mean or 0.0)} waiting"
        if picture.answered
        else ""
    )
    sentence = f"Nothing is wrong to be seen: {rate(picture.rate)}{took}, {looked}."
    return finding("healthy", "note", sentence, lines)


def _busiest(picture: Picture) -> ms.Finding | None:
    """Which route takes most time, and which most CPU."""
    if len(picture.routes) < 2:
        return None
    total = sum(route.seconds for route in picture.routes)
    first = picture.routes[0]
    sentence = f"Most time goes to {first.name}: {percent(first.seconds / total)}"
    known = [route for route in picture.routes if route.cpu_seconds]
    used = sum(route.cpu_seconds or 0.0 for route in known)
    if used:
        most = max(known, key=lambda route: route.cpu_seconds or 0.0)
        sentence += f"; most CPU to {most.name}: {percent((most.cpu_seconds or 0.0) / used)}"
    return finding("routes", "note", f"{sentence}.", route_lines(picture, SHOWN_ROUTES))


def _sentence(told: ms.Finding) -> ms.Finding:
    told.sentence = told.sentence[:1].upper() + told.sentence[1:]
    return told


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
