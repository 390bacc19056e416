"""Runs cases against a server: each one whole, byte by byte, split in two, and with a second request behind it.

`check` takes an address and cases and gives a verdict for each; it knows nothing of how the server was started.
"""

from __future__ import annotations

import itertools
import json
import random
import string
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.effort import effort as tried

from .case import TOKEN, Case, get
from .exchange import DEADLINE_SECONDS, Address, End, Exchange, Finished, HalfClose, Leave, Send, Step, run
from .judge import judge

BYTEWISE_MAX = tried(250, 1500)  # bytes sent one by one; what follows goes in blocks
BLOCK_BYTES = 8192
SHORT_BYTES = 400  # such a message is split at every place; a longer one in its first bytes, at line ends and between
FIRST_BYTES = 120
SPREAD = 20
EVENTS_SECONDS = 30.0  # for the application to notice that its client has gone
SCRIPT_SECONDS = 40.0
PIPELINED = "with a request behind it"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server."""

    address: Address
    unix: str = ""
    ipv6: Address = ""  # "": it has none
    profile: str = "plain"
    concurrency: int = 64  # 1 for a server that holds a connection at a time
    strict: bool = True
    deadline_seconds: float = DEADLINE_SECONDS
    events_seconds: float = EVENTS_SECONDS


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for each case."""

    bytewise: bool = True
    splits: int = 6  # in two, at this many places; 0 none, -1 at every place
    serving_splits: int = 1  # the same for the cases that are not about parsing
    behind: bool = True  # the same with a second request right behind it


EVERY_WAY = Effort(splits=-1, serving_splits=-1)
QUICK = Effort(bytewise=False, splits=0, serving_splits=0, behind=False)  # whole, once


@dataclass(slots=True)
class Verdict:
    """A case and its faults, each with the delivery that showed it."""

    case: Case
    faults: list[str] = field(default_factory=list)
    deliveries: int = 0
    away_seconds: float = 0.0  # for which its client, or one beside it, was kept from acting

    @property
    def passed(self) -> bool:
        return not self.faults


@dataclass(slots=True)
class _Delivery:
    label: str
    case: Case
    token: str
    probe: str
    exchange: Exchange


DIGITS = string.digits + string.ascii_lowercase
_prefix = "".join(random.SystemRandom().choices(DIGITS, k=3))
_numbers = itertools.product(DIGITS, repeat=len(TOKEN) - len(_prefix))


def new_token() -> str:
    """Unique in this process, and as good as unique among processes; as long as the placeholder."""
    return _prefix + "".join(next(_numbers))


def check(target: Target, cases: Iterable[Case], effort: Effort = Effort()) -> list[Verdict]:
    """Run the cases, all deliveries of all of them beside each other as far as `target.concurrency` goes."""
    verdicts = {str(case): Verdict(case) for case in cases if reachable(case, target)}
    deliveries = [
        _delivery(label, verdict.case, steps, probe, target)
        for verdict in verdicts.values()
        for label, steps, probe in scripts(verdict.case, effort)
    ]
    for at in (target.address, target.unix, target.ipv6):
        if chosen := [delivery for delivery in deliveries if address(delivery.case, target) == at]:
            away = run((delivery.exchange for delivery in chosen), at, target.concurrency)
            for delivery in chosen:
                verdicts[str(delivery.case)].away_seconds = away
    for delivery in deliveries:
        outcome = delivery.exchange.outcome
        assert outcome is not None
        verdict = verdicts[str(delivery.case)]
        verdict.deliveries += 1
        faults = judge(delivery.case, outcome, delivery.probe, strict=target.strict)
        known = verdict.faults and not target.strict  # one is enough for a server that is not ours
        if delivery.case.events is not None and outcome.end is not End.REFUSED and not known:
            faults += events(delivery.case, delivery.token, target)
        verdict.faults += [f"{delivery.label}: {fault}" for fault in faults]
    return list(verdicts.values())


def reachable(case: Case, target: Target) -> bool:
    """Whether this server, as it is configured and reached, can be asked the case."""
    return case.profile == target.profile and bool(address(case, target))


def address(case: Case, target: Target) -> Address:
    """Where the case is to be asked; "" if the server is not there."""
    if case.unix:
        return target.unix
    return target.ipv6 if case.ipv6 else target.address


def scripts(case: Case, effort: Effort) -> Iterator[tuple[str, list[Step], str]]:
    """The ways to deliver a case: a label, the steps and the query of the request behind it ("": none)."""
    for label, steps, behind in _ways(case, effort):
        probe = f"behind={new_token()}"
        second = get(b"/behind?" + probe.encode(), b"Connection: close")
        if behind:
            yield label, [*steps[:-1], Send(steps[-1].data + second)], probe  # type: ignore[union-attr]
        elif case.closed or isinstance(steps[-1], HalfClose | Leave):
            yield label, steps, ""
        else:
            yield label, [*steps, Finished(len(case.statuses)), Send(second)], probe


def _ways(case: Case, effort: Effort) -> Iterator[tuple[str, list[Step], bool]]:
    if case.script:
        yield "scripted", list(case.script), False
        if effort.bytewise and not case.seconds:
            pieces = (bytewise(step.data) if isinstance(step, Send) else [step] for step in case.script)
            yield "scripted, byte by byte", list(itertools.chain.from_iterable(pieces)), False
        return
    sent = case.sent
    yield "whole", [Send(sent)], False
    if effort.behind and not case.alone:
        yield PIPELINED, [Send(sent)], True
    if case.whole:
        return
    if effort.bytewise:
        yield "byte by byte", bytewise(sent), False
    for place in places(sent, effort.splits if case.parsing else effort.serving_splits):
        yield f"split at {place}", [Send(sent[:place]), Send(sent[place:])], False


def bytewise(data: bytes) -> list[Step]:
    """One byte at a time; of a long message only its start, the rest in blocks."""
    steps: list[Step] = [Send(data[n : n + 1]) for n in range(min(len(data), BYTEWISE_MAX))]
    steps += [Send(data[n : n + BLOCK_BYTES]) for n in range(BYTEWISE_MAX, len(data), BLOCK_BYTES)]
    return steps


def places(sent: bytes, count: int) -> Sequence[int]:
    """Where to split: at `count` places and at line ends, or everywhere (-1), as far as the message is short."""
    length = len(sent)
    if length < 2 or not count:
        return ()
    head_end = sent.find(b"\r\n\r\n") + 4
    if count < 0:
        if length <= SHORT_BYTES:
            return range(1, length)
        ends = [end + offset for end in line_ends(sent) for offset in (0, 1, 2)]
        spread = range(1, length, 1 + length // SPREAD)
        candidates = {*range(1, FIRST_BYTES), *ends, *spread, length - 1, length - 2}
    else:
        ends = [n + offset for n in (sent.find(b"\r\n"), head_end - 4) if n > 0 for offset in (1, 2)]
        spread = range(1, length, 1 + length // count)
        candidates = {*list(spread)[:count], *ends[:2], length - 1}
    return sorted(place for place in candidates if 0 < place < length)


def line_ends(sent: bytes) -> Iterator[int]:
    """Where the first lines end: of the head, of chunks."""
    place = -1
    for _ in range(SPREAD):
        place = sent.find(b"\r\n", place + 1)
        if place < 0:
            return
        yield place


def with_token(steps: Sequence[Step], token: bytes) -> list[Step]:
    """The steps with the placeholder filled in, wherever they cut it."""
    filled = b"".join(step.data for step in steps if isinstance(step, Send)).replace(TOKEN, token)
    result: list[Step] = []
    start = 0
    for step in steps:
        if isinstance(step, Send):
            result.append(Send(filled[start : start + len(step.data)]))
            start += len(step.data)
        else:
            result.append(step)
    return result


def _delivery(label: str, case: Case, steps: list[Step], probe: str, target: Target) -> _Delivery:
    token = ""
    if TOKEN in case.sent:
        token = new_token()
        steps = with_token(steps, token.encode())
    seconds = SCRIPT_SECONDS if case.seconds else target.deadline_seconds
    return _Delivery(label, case, token, probe, Exchange(steps, case.request_methods, seconds))


def events(case: Case, token: str, target: Target) -> Iterator[str]:
    """What the application recorded; an event that is still due is waited for."""
    deadline = time.monotonic() + target.events_seconds
    query = f"t={token}&take={len(case.events or ())}".encode()
    while True:
        asking = Exchange([Send(get(b"/calls?" + query, b"Connection: close"))])
        run([asking], address(case, target))
        assert asking.outcome is not None
        try:
            recorded = tuple(json.loads(asking.outcome.responses[0].body))
        except (IndexError, ValueError):
            yield f"no record of what the application did: {asking.outcome}"
            return
        if recorded == case.events:
            return
        if len(recorded) >= len(case.events or ()) or time.monotonic() > deadline:
            yield f"the application did {recorded}, expected {case.events}"
            return
        time.sleep(0.01)
