"""Whether what came back is what a case expects; the reasons in words, none when all is well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .case import RAW_TARGET, Case, Status, matches
from .client import Framing, Response
from .demands import alternatives, closes_early, is_optional, spaced
from .exchange import End, Outcome

REFUSAL_BODY_MAX_BYTES = 512
SHOWN_CHARACTERS = 120
OPTIONAL_FIELDS = ("Connection", "Content-Length", "Transfer-Encoding")  # where the specifications leave it open


def judge(case: Case, outcome: Outcome, probe: str, *, strict: bool) -> list[str]:
    """The faults of one exchange. `probe` names the request that was sent behind the case's own ("": none).

    `strict` adds what this project promises beyond the specifications: Date on every response, the close announced,
    refusals with a short text/plain body. Without it, what else the specifications allow is right as well: see demands.
    """
    if outcome.violation:
        return [f"not HTTP: {outcome.violation}"]
    faults: list[str] = []
    finals = outcome.finals
    statuses = [response.status for response in finals]
    wanted, closed = case.statuses, case.closed
    if not strict and closes_early(case, finals):
        closed = True
    if not fit(wanted, closed, statuses, probe):
        others = [] if case.otherwise is None else [(case.otherwise, True)]
        if not strict:
            others += alternatives(case)
            if closed and len(finals) < len(wanted):
                others.append((wanted[: len(finals)], True))  # the client sends the rest again
        if any(fit(*other, statuses, probe) for other in others):
            return list(ending(case, outcome, strict=strict))
        expected = f"{shown(wanted)} and {'a close' if closed else 'an open connection'}"
        return [f"expected {expected}, got {statuses}, {outcome.end.value} ({outcome.seconds:.2f} s)"]
    faults += ending(case, outcome, strict=strict)
    own = finals[: len(wanted)]
    if probe and not closed:
        faults += attribution(finals[-1], probe)
    if own:
        faults += last_response(case, own[-1], strict=strict)
        faults += as_seen(case, own, strict=strict)
    if strict:
        for number, response in enumerate(own):
            faults += promises(case, response, is_last=number == len(own) - 1)
    if case.interim not in {None, tuple(outcome.interims)} and (strict or not is_optional(case, outcome)):
        faults.append(f"interim responses {outcome.interims}, expected {list(case.interim or ())}")
    if case.links is not None:
        hints = [response for response in outcome.responses if response.status == 103]
        if not hints or tuple(hints[-1].all("Link")) != case.links:
            faults.append(f"Link of the 103: {hints and hints[-1].all('Link')}")
    return faults


def shown(statuses: Sequence[Status]) -> str:
    return str([status if isinstance(status, int) else "|".join(map(str, sorted(status))) for status in statuses])


def fit(wanted: Sequence[Status], closed: bool, statuses: list[int], probe: str) -> bool:
    """Whether these are the statuses: the case's, and the probe's 200 where the connection goes on."""
    all_wanted = list(wanted) if closed or not probe else [*wanted, 200]
    return len(all_wanted) == len(statuses) and all(
        status == want if isinstance(want, int) else status in want
        for want, status in zip(all_wanted, statuses, strict=True)
    )


def ending(case: Case, outcome: Outcome, *, strict: bool) -> Iterator[str]:
    """How and when the connection ended."""
    allowed = {End.FIN, End.LEFT}
    if case.abrupt or not strict:
        allowed.add(End.RESET)
    if outcome.end not in allowed:
        yield f"the connection is {outcome.end.value} ({outcome.seconds:.2f} s), expected a close by FIN"
    if case.seconds and not case.seconds[0] <= outcome.seconds <= case.seconds[1]:
        yield f"took {outcome.seconds:.2f} s, expected {case.seconds[0]} to {case.seconds[1]}"


def attribution(response: Response, probe: str) -> Iterator[str]:
    """The request behind the case must have got its own answer."""
    try:
        query = json.loads(response.body)["environ"]["QUERY_STRING"]
    except (ValueError, KeyError, TypeError):
        yield f"the request behind it got another's answer: {bytes(response.body[:SHOWN_CHARACTERS])!r}"
        return
    if query != probe:
        yield f"the request behind it ({probe}) got the answer of {query!r}"


def last_response(case: Case, response: Response, *, strict: bool) -> Iterator[str]:
    if response.complete != case.complete:
        yield f"the last response is {'complete' if response.complete else 'cut off'}: {response!r}"
    if case.reason is not None and response.reason != case.reason:
        yield f"reason {response.reason!r}, expected {case.reason!r}"
    if case.framing is not None and response.framing is not case.framing and (strict or case.framing is Framing.NONE):
        yield f"body framed by {response.framing.value}, expected {case.framing.value}"
    if case.body is not None and not matches(case.body, bytes(response.body)):
        yield f"body {abbreviated(bytes(response.body))}, expected {abbreviated(case.body)}"
    for name, expected in case.fields.items():
        values = tuple(response.all(name))
        value: Any = values if isinstance(expected, tuple) else (values[0] if values else None)
        if not strict and name in OPTIONAL_FIELDS and (value is None or name == "Connection"):
            continue
        if not matches(expected, value) or (len(values) > 1 and not isinstance(expected, tuple)):
            yield f"field {name}: {values}, expected {described(expected)}"


def as_seen(case: Case, own: list[Response], *, strict: bool) -> Iterator[str]:
    """What the application saw, by its JSON answers; HEAD has none."""
    for number, response in enumerate(own):
        wanted = case.seen(number)
        if not wanted or case.method(number) == "HEAD":
            continue
        seen = content(response)
        if not seen:
            yield f"no environ in the answer: {abbreviated(bytes(response.body))}"
            return
        found = {**seen["environ"], "body": seen["body"].encode("latin-1")}
        found[RAW_TARGET] = found.get("RAW_URI", found.get("REQUEST_URI"))
        where = f" of request {number + 1}" if len(own) > 1 else ""
        for name, expected in wanted.items():
            if not strict and name == RAW_TARGET:
                continue
            right = matches(expected, found.get(name)) or (not strict and matches(expected, spaced(found.get(name))))
            if not right:
                yield f"{name}{where}: {abbreviated(found.get(name))}, expected {abbreviated(expected)}"


def promises(case: Case, response: Response, *, is_last: bool) -> Iterator[str]:
    if response.version != "HTTP/1.1":  # RFC 9110, section 6.2: the highest that the server conforms to
        yield f"answered as {response.version}"
    if len(response.all("Date")) != 1:
        yield f"no Date on {response!r}"
    closes = "close" in response.tokens("Connection")
    if closes and not (is_last and case.closed):
        yield f"a close is announced and does not follow: {response!r}"
    if is_last and case.closed and case.announced and case.complete and not closes and not case.closes_by_default:
        yield f"the close is not announced: {response!r}"
    if is_last and case.refusal and response.status >= 400 and response.framing is not Framing.NONE:
        kind = "".join(response.all("Content-Type")).partition(";")[0]
        if kind != "text/plain" or not 0 < len(response.body) <= REFUSAL_BODY_MAX_BYTES:
            yield f"a refusal needs a short text/plain body: {kind}, {response!r}"


def content(response: Response) -> dict[str, Any]:
    try:
        parsed = json.loads(response.body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def described(expected: Any) -> str:
    if callable(expected):
        return "something else"
    return "none" if expected is None else repr(getattr(expected, "pattern", expected))


def abbreviated(value: Any) -> str:
    text = described(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(value)})"
