"""Rules about what there is too little of: threads, workers, places in a queue. By Little's law (L = λW): as many
requests are there at a time as come in a second, times the seconds that each stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from miniwsgi.manager import messages as ms

from .finding import finding
from .picture import Picture
from .waiting import lock, queue_dominates
from .wording import count, number, percent, rate, seconds

HEADROOM = 0.8  # how busy threads may be on average, so that bursts find one
MAX_THREADS = 256  # of server.threads
ALL_CPUS = 0.9  # of those that there are: more is not promised
ONE_INTERPRETER = 0.7  # of a CPU: more in one worker, and its threads wait for each other
THREADED = {"epoll", "fork"}


def too_few(picture: Picture) -> ms.Finding | None:
    """Requests wait for longer than they run."""
    if not picture.saturated or not queue_dominates(picture):
        return None
    return _saturated(picture)


def saturated(picture: Picture) -> ms.Finding | None:
    """All threads are busy, for a reason that is told above."""
    return _saturated(picture) if picture.saturated and not queue_dominates(picture) else None


def not_accepted(picture: Picture) -> ms.Finding | None:
    """Clients wait to be let in, and threads have nothing to do."""
    evidence = picture.evidence
    if picture.queued < 0.5 or picture.busy >= 0.85 * picture.capacity:
        return None
    full = [worker for worker in evidence.workers if worker.connections >= evidence.most_connections]
    queues = [f"{queue.name}: {count(queue.queued, 'connection')} queued" for queue in evidence.queues if queue.queued]
    threads = f"{number(picture.busy)} of {count(picture.capacity, 'thread')} busy"
    if full and len(full) == len(evidence.workers):
        idle = ", most of them idle" if picture.busy < sum(worker.connections for worker in full) / 2 else ""
        sentence = (
            f"Clients wait to be accepted ({number(picture.queued)}): each worker has as many connections as "
            f"limits.connections allows, {evidence.most_connections}{idle}."
        )
        remedy = "raise limits.connections (and LimitNOFILE), shorten timeouts.keep_alive, or have a proxy keep clients"
        return finding("connections", "critical", sentence, [*queues, threads], remedy)
    sentence = (
        f"Clients wait to be accepted ({number(picture.queued)}), although threads are free; why is not to be seen."
    )
    return finding("not-accepted", "warning", sentence, [*queues, threads], "miniwsgictl workers, and the error log")


def dropped(picture: Picture) -> ms.Finding | None:
    """Clients that were not let in."""
    lost = [(queue, queue.dropped) for queue in picture.evidence.queues if queue.dropped]
    if not lost:
        return None
    total = sum(number for _, number in lost)
    sentence = f"Clients are turned away: {total} attempts to connect were dropped, for an accept queue was full."
    lines = [
        f"{queue.name}: {number_} dropped, {number(queue.queued)} of {queue.limit} queued" for queue, number_ in lost
    ]
    return finding(
        "dropped", "critical", sentence, lines, "more threads or workers; server.backlog and net.core.somaxconn"
    )


def _saturated(picture: Picture) -> ms.Finding:
    workers = len(picture.evidence.workers)
    what = "thread" if picture.evidence.pool in THREADED else "worker"
    there = f"all {count(picture.capacity, what)}{f' of {workers} workers' if what == 'thread' and workers > 1 else ''}"
    there = there.replace("all 1 ", "the only ")
    if picture.run_mean is not None:
        waited, run = seconds(picture.queue_mean or 0.0), seconds(picture.run_mean)
        longer = "longer than they run" if queue_dominates(picture) else "while others run"
        sentence = (
            f"Requests wait for a {what} {longer}: {waited} of waiting, {run} in the application; {there} "
            f"{'is' if picture.capacity == 1 else 'are'} busy and {count(picture.waiting, 'request')} "
            f"{'waits' if number(picture.waiting) == '1' else 'wait'}."
        )
    else:
        sentence = (
            f"Requests wait for a {what}: {there} busy, {number(picture.waiting)} waiting, and none was answered."
        )
    return finding("saturated", "warning", sentence, _sum(picture), _enough(picture))


def _sum(picture: Picture) -> Iterator[str]:
    yield f"{number(picture.busy)} of {picture.capacity} busy, {number(picture.waiting)} waiting, on average"
    if picture.run_mean is not None:
        stay = (picture.queue_mean or 0.0) + picture.run_mean
        yield (
            f"Little's law: {rate(picture.rate)} × {seconds(stay)} = {number(picture.rate * stay)} at a time, "
            f"of which {number(picture.rate * picture.run_mean)} run"
        )
    for queue in picture.evidence.queues:
        if queue.queued >= 0.5:
            limit = f" of {queue.limit}" if queue.limit else ""
            yield f"{queue.name}: {number(queue.queued)}{limit} connections wait to be accepted"
    yield f"workers use {picture.cpu:.2f} of {count(picture.evidence.cpus, 'CPU')}"


def _enough(picture: Picture) -> str:
    """How many threads or workers would do, as far as CPUs let them."""
    evidence, workers = picture.evidence, max(1, len(picture.evidence.workers))
    if picture.run_mean is None or not picture.answered:
        return "how many would do is not to be seen: no request was answered"
    if lock(picture) is not None:
        return "more threads would wait for that lock, too"
    needed = math.ceil((picture.busy + picture.waiting) / HEADROOM)
    share = min(1.0, picture.cpu / max(0.1, picture.busy))  # of a CPU, that a busy thread uses
    keeps = f"{percent(1 - HEADROOM)} of them free for bursts"
    if share * needed > ALL_CPUS * evidence.cpus:
        return (
            f"{needed} at a time would need {share * needed:.1f} CPUs, and there are {evidence.cpus}: "
            "more threads help only up to that; faster answers do"
        )
    per_worker = math.ceil(needed / workers)
    if evidence.pool in THREADED and share * per_worker <= ONE_INTERPRETER and per_worker <= MAX_THREADS:
        return f"server.threads = {per_worker} would do for what came ({workers} × {per_worker}, {keeps})"
    each = max(1, picture.capacity // workers)
    if evidence.pool in THREADED:
        by_cpu = math.ceil(share * needed / ONE_INTERPRETER)
        more = max(math.ceil(needed / each), by_cpu)
    else:
        more = needed
    return f"server.workers = {more} would do for what came ({more} × {each}, {keeps})"
