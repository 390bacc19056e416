"""Rules about threads that wait: for a lock, for one slow route, for something outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from miniwsgi.manager import messages as ms

from .evidence import WorkerEvidence
from .finding import finding
from .picture import Group, Picture, wanted
from .places import FILE, Doing
from .wording import count, inside, number, percent, rate, seconds

SHARE = 0.3  # of the busy threads: that many at one place tell something
LONG_SECONDS = 0.3  # in the application, on average
OLD_SECONDS = 5.0
STUCK_SECONDS = 1.0  # of a request, where none is answered
SLOWER = 2.0  # times as long as usual
USUAL_ANSWERS = 20  # that make it usual
CONTRAST = 5.0  # times as long as the other routes
ROUTE_SECONDS = 0.1
FULL_CPU = 0.8  # of one CPU: a worker that uses so much is at its limit, for its interpreter runs one thread at a time
SOME_ANSWERS = 3  # without which a mean tells nothing
SHOWN_GROUPS = 4
SEEN_THREADS = 0.05  # at one place, on average: less is what passes by
WAITED_FOR = {
    Doing.OTHERS: " for another thread",
    Doing.POOL: " for a connection, for the pool is exhausted,",
}


def lock(picture: Picture) -> ms.Finding | None:
    """Threads that stand before a lock."""
    found = picture.doing(Doing.LOCK)
    threads = sum(group.threads for group in found)
    if not found or threads < 0.7 or threads < SHARE * picture.seen:
        return None
    group = found[0]
    wanted = picture.places.wanted(group.place.where)
    name = " on a file" if wanted == FILE else f" {wanted}" if wanted else ""
    call = "" if wanted else f" in {group.place.call}" if group.place.call else ""
    place, who = picture.places.shown(group.place.where), inside(group.request)
    sentence = f"{_threads(group, picture)} for the lock{name} at {place}{call}{who}; {_holder(group, picture)}."
    if (other := _deadlocked_with(group, found)) is not None:
        there = picture.places.shown(other.place.where)
        also = picture.places.wanted(other.place.where) or "another"
        sentence = (
            f"Deadlock: threads at {place}{who} wait for the lock{name}, which is held by one at {there}"
            f"{inside(other.request)}, and that waits for {also}, which they hold."
        )
        remedy = "take locks in the same order everywhere; miniwsgictl restart SLOT frees what hangs"
        return finding("deadlock", "critical", sentence, _groups(picture), remedy)
    remedy = "hold the lock for less: do what takes long (queries, files, sleeps) outside of it"
    return finding("lock", "warning", sentence, _groups(picture), remedy)


def _deadlocked_with(group: Group, groups: Sequence[Group]) -> Group | None:
    """Those that hold what the group waits for, if they wait for what it holds."""
    for other in groups:
        holds = any(now == other.place.where for _, now, _ in group.holders)
        held = any(now == group.place.where for _, now, _ in other.holders)
        if other is not group and holds and held:
            return other
    return None


def _holder(group: Group, picture: Picture) -> str:
    if not group.holders:
        return "who holds it is not to be seen"
    (taken, now, request), _count = group.holders.most_common(1)[0]
    text, places = picture.places.text(now), picture.places
    doing = f" ({text})" if text else ""
    return f"the thread that took it at {places.shown(taken)} is at {places.shown(now)}{doing}{inside(request)}"


def slow_route(picture: Picture) -> ms.Finding | None:
    """One route that takes most of the time, and far longer than the others."""
    if len(picture.routes) < 2:
        return None
    worst, *others = picture.routes
    total = sum(route.seconds for route in picture.routes)
    mean = worst.seconds / worst.answered
    other = sum(route.seconds for route in others) / max(1, sum(route.answered for route in others))
    rare = worst.answered < sum(route.answered for route in others)
    if not rare or mean < ROUTE_SECONDS or worst.seconds < 0.5 * total or mean < CONTRAST * other:
        return None
    group = next((one for one in picture.groups if worst.name in one.request), None)
    where = f": {_at(group, picture)}" if group is not None else ""
    sentence = (
        f"One route is slow: {worst.name} takes {seconds(mean)} on average, the others {seconds(other)}; "
        f"it has {percent(worst.seconds / total)} of the time{where}."
    )
    return finding("slow-route", "warning", sentence, [*route_lines(picture, SHOWN_GROUPS), *_groups(picture)])


def route_lines(picture: Picture, shown: int) -> Iterator[str]:
    """The routes that take most time, with their means."""
    for route in picture.routes[:shown]:
        mean = seconds(route.seconds / route.answered)
        yield f"{route.name}: {count(route.answered, 'answer')}, {mean} on average"


def slow_worker(picture: Picture) -> ms.Finding | None:
    """One worker that takes far longer than the others, for the same routes."""
    found: list[tuple[float, float, WorkerEvidence]] = []  # means of the worker, and of the others
    for worker in picture.evidence.workers:
        answered, took, others = _compared(worker, picture)
        if wanted(worker) >= FULL_CPU:
            continue  # it computes, which says more
        if answered >= SOME_ANSWERS and took >= max(ROUTE_SECONDS * answered, CONTRAST * others):
            found.append((took / answered, others / answered, worker))
    if not found or len(found) > len(picture.evidence.workers) / 2:
        return None
    mean, other, worker = max(found, key=lambda one: one[0])
    sentence = (
        f"One worker is slow: worker {worker.slot} (pid {worker.pid}) takes {seconds(mean)} on average, the others "
        f"{seconds(other)} for the same routes."
    )
    evidence = [f"{percent(worker.cpu)} of a CPU, {count(worker.busy, 'thread')} in requests", *_groups(picture)]
    remedy = f"miniwsgictl stack {worker.slot}, then miniwsgictl restart {worker.slot}"
    return finding("slow-worker", "warning", sentence, evidence, remedy)


def _compared(worker: WorkerEvidence, picture: Picture) -> tuple[int, float, float]:
    """How many answers of routes that others have answered, too, their seconds, and how many those would have taken."""
    answered, took, expected = 0, 0.0, 0.0
    whole = {route.name: route for route in picture.evidence.routes}
    for route in worker.routes:
        others = whole[route.name].answered - route.answered
        if others >= SOME_ANSWERS:
            answered, took = answered + route.answered, took + route.seconds
            expected += route.answered * (whole[route.name].seconds - route.seconds) / others
    return answered, took, expected


def waits_long(picture: Picture) -> ms.Finding | None:
    """Threads that wait outside of Python, and answers are slow for that."""
    group = _largest(picture)
    if group is None or not (is_slow(picture) or (picture.saturated and not queue_dominates(picture))):
        return None
    sentence = f"{_waiting(group, picture)}."
    return finding("waits", "warning", sentence, [*_slowness(picture), *_groups(picture)], _remedy(group))


def waits(picture: Picture) -> ms.Finding | None:
    """The same as it is known to be: no harm."""
    group = _largest(picture)
    if group is None or group.threads < 0.3:
        return None
    sentence = f"What requests wait for: {_waiting(group, picture)}."
    return finding("waits", "note", sentence, _groups(picture))


def slow(picture: Picture) -> ms.Finding | None:
    """Slow for no reason that is seen."""
    if not is_slow(picture):
        return None
    known = picture.run_mean is not None
    what = f"answers take {seconds(picture.run_mean or 0)} on average" if known else "no request was answered"
    hidden = next((worker.no_samples for worker in picture.evidence.workers if worker.no_samples), "")
    why = hidden or "their threads were seen at no place for long"
    names = Counter(name for worker in picture.evidence.workers for name in worker.requests)
    mostly = f", mostly {names.most_common(1)[0][0]}," if names else ""
    share = picture.cpu / picture.busy if picture.busy >= 0.5 else None
    does = "" if share is None else f" They {'wait' if share < 0.3 else 'compute'}: {percent(share)} of a CPU each."
    sentence = f"Requests are slow ({what}){mostly} and where they are is not to be seen: {why}.{does}"
    return finding("slow", "warning", sentence, [*_slowness(picture), *_groups(picture)])


def is_slow(picture: Picture) -> bool:
    """Whether the application takes long, or longer than usual."""
    mean, usual = picture.run_mean, picture.evidence.usual_seconds
    slower = (
        usual is not None
        and mean is not None
        and picture.evidence.usual_answers >= USUAL_ANSWERS
        and mean >= max(ROUTE_SECONDS, SLOWER * usual)
    )
    stuck = not picture.answered and picture.oldest >= STUCK_SECONDS
    return slower or stuck or (mean or 0.0) >= LONG_SECONDS or picture.oldest >= OLD_SECONDS


def queue_dominates(picture: Picture) -> bool:
    """Whether requests wait before the application for longer than they are inside of it."""
    return picture.run_mean is not None and (picture.queue_mean or 0.0) > picture.run_mean


def _largest(picture: Picture) -> Group | None:
    found = picture.doing(Doing.WAITS, Doing.OTHERS, Doing.POOL)
    if not found or found[0].threads < SHARE * picture.seen:
        return None
    return found[0]


def _threads(group: Group, picture: Picture) -> str:
    """ "6 of 8 busy threads wait"."""
    several = number(group.threads) != "1"
    if number(picture.seen) == number(group.threads):
        busy = "the one busy thread" if not several else f"all {number(picture.seen)} busy threads"
        return f"{busy} {'wait' if several else 'waits'}"
    return f"{number(group.threads)} of {number(picture.seen)} busy threads {'wait' if several else 'waits'}"


def _waiting(group: Group, picture: Picture) -> str:
    """ "6 of 8 busy threads wait for another thread at shop/db.py:38 in load, in GET /orders"."""
    what = WAITED_FOR.get(group.place.doing, "")
    return f"{_threads(group, picture)}{what} {_at(group, picture)}{inside(group.request)}"


def _at(group: Group, picture: Picture) -> str:
    call = group.place.call
    return f"at {picture.places.shown(group.place.where)}" + (
        f" in {call}" if call else f" in {group.place.where.function}"
    )


def _remedy(group: Group) -> str:
    if group.place.doing is Doing.POOL:
        return (
            "see what the others do with theirs: a connection should be given back before anything else is waited for; "
            "or a pool as large as there are threads"
        )
    if group.place.doing is Doing.OTHERS:
        return (
            "see who ends the wait: a pool of connections may be too small, a queue is not filled, a condition not met"
        )
    return "see what that place asks for: a database, another service, a file; a time limit there bounds the wait"


def _slowness(picture: Picture) -> Iterator[str]:
    if picture.run_mean is not None:
        usual = picture.evidence.usual_seconds
        before = (
            f"; usually {seconds(usual)}"
            if usual is not None and picture.evidence.usual_answers >= USUAL_ANSWERS
            else ""
        )
        yield (
            f"an answer takes {seconds(picture.run_mean)} in the application{before}, after "
            f"{seconds(picture.queue_mean or 0.0)} of waiting for a thread ({rate(picture.rate)})"
        )
    elif picture.busy >= 0.5:
        yield "no request was answered meanwhile"
    if picture.oldest >= 1.0:
        yield f"the oldest request has run for {seconds(picture.oldest)}"
    yield (
        f"{number(picture.busy)} of {count(picture.capacity, 'thread')} busy, {number(picture.waiting)} waiting; "
        f"workers use {picture.cpu:.2f} CPUs"
    )


def _groups(picture: Picture) -> Iterator[str]:
    for group in picture.groups[:SHOWN_GROUPS]:
        if group.threads < SEEN_THREADS:
            break
        where = f"{_at(group, picture)}{inside(group.request)}"
        yield f"{count(group.threads, 'thread')} {where}: {group.place.doing.value}"
