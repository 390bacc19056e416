"""The verdict on a running daemon, in one word and with its reasons: what `status` begins with, `status --check` exits
with, and the page shows. The one place where it is decided; docs/operations.md has it as a table.

*Down* is a daemon that answers nobody, and has not for a while. *Degraded* is one that answers, but not all, not well,
or with too few workers. What endangers only the future (a reload that failed, a log that lost lines) is told elsewhere
and does not count: nobody is served worse for it. Each reason has its code, by which docs/errors.md explains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import zip_longest

from msgspec import Struct

from ..codes import Code
from .answers import NONE, Answers
from .health import Health, ServicePhase

DOWN_SECONDS = 10.0  # when no worker responds for so long; before, it may be one slow call that holds the interpreter
FAILING_SHARE = 0.05  # of the last minute's answers
FAILING_ANSWERS = 5  # that many at least: a single mistake in a quiet minute is none of the service
QUEUE_SHARE = 0.5  # of an accept queue: beyond, the next burst overflows it
SATURATED_RATIO = 0.9  # of utilization, over 10 s

_Reason = tuple[Code, str]


class Level(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


class ServiceCondition(Struct, frozen=True):
    """What the verdict depends on, at one moment."""

    health: Health
    growing: bool = False  # workers that are missing were just asked for
    booting: int = 0
    retry_seconds: float | None = None  # until the successor of a lost worker is tried
    queued: int = 0  # connections in all accept queues
    queue_share: float = 0.0  # how full the fullest is
    waiting: int = 0  # complete requests that wait for a thread
    capacity: int = 1  # requests that the ready workers can run at a time
    utilization: float | None = None  # 0 to 1
    last_minute: Answers = NONE
    leader: str = ""  # why no worker leads although one should
    certificates: Sequence[str] = ()  # why clients refuse them
    crashes: str = ""  # that worker after worker ends by itself
    new_code: str = ""  # that most of what the generation in force has answered so far are errors


class Verdict(Struct, frozen=True):
    """`reasons` are phrases, the weightiest first; a healthy daemon has one, too. `codes`: of each, while it is not."""

    level: Level
    reasons: Sequence[str]
    codes: Sequence[Code] = ()

    def __str__(self) -> str:
        coded = zip_longest(self.reasons, self.codes)
        phrases = (f"{reason} ({code})" if code else reason for reason, code in coded)
        return f"{self.level.value}: {'; '.join(phrases)}"


def verdict(condition: ServiceCondition) -> Verdict:
    """The level and its reasons."""
    health = condition.health
    down = list(_down(condition))
    reasons = [*down, *_degraded(condition, missing=not down)]
    if not reasons and health.reason:
        reasons.append((Code.WORKERS_MISSING, health.reason))
    if not reasons:
        return Verdict(Level.HEALTHY, [f"{health.ready_workers} of {health.target_workers} workers ready"])
    codes, phrases = zip(*reasons, strict=True)
    return Verdict(Level.DOWN if down else Level.DEGRADED, phrases, codes)


def _down(now: ServiceCondition) -> Iterator[_Reason]:
    health = now.health
    if health.phase is ServicePhase.STARTING:
        yield Code.NONE_READY_YET, "starting, no worker was ready yet"
    elif health.phase is ServicePhase.STOPPING:
        yield Code.STOPPING, "stopping"
    elif health.phase is ServicePhase.DRAINING:
        yield Code.DRAINED, "drained, as was asked for"
    elif not health.ready_workers:
        yield Code.WORKERS_MISSING, f"none of {health.target_workers} workers is ready{_coming(now)}{_queue(now)}"
    elif not health.responding_workers and min(health.silent) >= DOWN_SECONDS:
        yield Code.SILENT, _not_responding(now)


def _degraded(now: ServiceCondition, *, missing: bool) -> Iterator[_Reason]:
    """`missing`: whether to tell of workers that are missing or do not respond."""
    health = now.health
    if missing and health.silent:
        yield Code.SILENT, _not_responding(now)
    if missing and health.ready_workers < health.target_workers and not now.growing:
        yield Code.WORKERS_MISSING, f"{health.ready_workers} of {health.target_workers} workers ready{_coming(now)}"
    failed, share = now.last_minute.server_errors, now.last_minute.share(now.last_minute.server_errors)
    if now.new_code:
        yield Code.NEW_CODE_FAILS, now.new_code
    elif failed >= FAILING_ANSWERS and share is not None and share >= FAILING_SHARE:
        yield Code.ANSWERS_FAIL, f"{100 * share:.0f} % of the last minute's {now.last_minute.total} answers were 5xx"
    if now.crashes:
        yield Code.WORKERS_LOST, now.crashes
    yield from ((Code.CERTIFICATE_REFUSED, refused) for refused in now.certificates)
    if now.leader:
        yield Code.CANNOT_LEAD, now.leader
    if now.queue_share > QUEUE_SHARE:
        yield Code.QUEUE_FILLS, f"an accept queue is {100 * now.queue_share:.0f} % full{_queue(now)}"
    elif (
        health.responding_workers  # threads of the others are not busy but stuck
        and (now.utilization or 0.0) >= SATURATED_RATIO
        and now.waiting + now.queued >= max(1, now.capacity)
    ):
        waiting = f", {_count(now.waiting, 'request')} waiting for a thread" if now.waiting else ""
        yield Code.BUSY, f"saturated{waiting}{_queue(now)}"


def _not_responding(now: ServiceCondition) -> str:
    silent = now.health.silent
    seconds = f"{min(silent):.0f}"
    return f"{len(silent)} of {now.health.ready_workers} workers not responding for {seconds} s{_queue(now)}"


def _coming(now: ServiceCondition) -> str:
    if now.booting:
        return f", {now.booting} booting"
    return f", the next one is tried in {now.retry_seconds:.0f} s" if now.retry_seconds is not None else ""


def _queue(now: ServiceCondition) -> str:
    return f", {_count(now.queued, 'connection')} queued" if now.queued else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
