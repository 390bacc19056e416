"""What the live fuzzer sends on one connection, and what must come back: both follow from the seed and a number."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, replace
from enum import Enum

from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import Stage
from tests.conformance.client import Response
from tests.conformance.exchange import End, Exchange, HalfClose, Leave, Outcome, Pause, Send, Step
from tests.conformance.parser import Request

from .application import Way, way_of
from .mutations import PLACEHOLDER, RIGHT, SEEDS, identified, mutated, pieces
from .reference import Reading, read

LIMITS = Limits(request_line_bytes=1000, field_bytes=2000, fields=20, fields_bytes=5000, body_max_bytes=10_000)
CONFIGURATION = """
[limits]
request_line = 1000
field_size = 2000
fields = 20
fields_size = 5000
body_max = 10000
body_memory = 1000
"""
SEEN_EARLY = frozenset({400, 414, 431})
IDENTIFIED = tuple(identified(seed) for seed in SEEDS)
IDENTIFIED_RIGHT = tuple(identified(seed) for seed in RIGHT)
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
SEQUENCE_DIGITS = 2
IDENTITY = re.compile(r"z[0-9a-z]{6}")
PAUSE_SECONDS = 0.003


class Ending(Enum):
    """What the client does when it has sent everything, or earlier."""

    HALF_CLOSE = "half-close"
    RESET = "reset"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Input:
    """One connection's worth: the bytes, how they are cut, and how the client ends it."""

    number: int
    data: bytes
    cuts: tuple[bytes, ...]
    pauses: frozenset[int]  # behind these pieces
    ending: Ending
    sent: int  # pieces, before it ends

    def exchange(self, seconds: float) -> Exchange:
        """Its conversation, to be carried out within these seconds."""
        steps: list[Step] = []
        for at, piece in enumerate(self.cuts[: self.sent]):
            steps.append(Send(piece))
            if at in self.pauses:
                steps.append(Pause(PAUSE_SECONDS))
        steps.append(HalfClose() if self.ending is Ending.HALF_CLOSE else Leave(self.ending is Ending.RESET))
        return Exchange(steps, [request.method for request in self.reading.requests] + [self.reading.method], seconds)

    @property
    def reading(self) -> Reading:
        """What it holds; the faults of a head that is cut off are those that it has as far as it goes."""
        reading = read(self.data, LIMITS)
        if reading.stage is not Stage.HEAD:
            return reading
        complete = read(self.data + b"\r\n\r\n", LIMITS)
        further = complete.requests[len(reading.requests) :]
        method = further[0].method if further else complete.method
        return replace(reading, faults=complete.faults, method=method if b"\r\n" in reading.rest else reading.method)


def make(seed: int, number: int) -> Input:
    """The input of that number; the same for the same seed."""
    chance = random.Random(f"{seed}-{number}")
    data = with_identities(mutated(chance, IDENTIFIED, IDENTIFIED_RIGHT), number)
    cuts = tuple(pieces(chance, data))
    pauses = frozenset(at for at in range(len(cuts)) if chance.random() < min(0.2, 1 / len(cuts)))
    ending = chance.choices(list(Ending), (85, 9, 6))[0]
    sent = len(cuts) if ending is Ending.HALF_CLOSE else chance.randrange(len(cuts) + 1)
    return Input(number, data, cuts, pauses, ending, sent)


def with_identities(data: bytes, number: int) -> bytes:
    """Each placeholder replaced by an id: of the connection, and of its place on it."""
    connection = in_digits(number, IDENTITY_BYTES - 1 - SEQUENCE_DIGITS)
    first, *rest = data.split(PLACEHOLDER)
    return first + b"".join(
        f"z{connection}{in_digits(at, SEQUENCE_DIGITS)}".encode() + part for at, part in enumerate(rest)
    )


IDENTITY_BYTES = len(PLACEHOLDER)


def in_digits(number: int, count: int) -> str:
    text = ""
    for _ in range(count):
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return text


def faults(sent: Input, outcome: Outcome) -> list[str]:
    """What was wrong with the answers on that connection; empty if nothing was."""
    reading = sent.reading
    found: list[str] = []
    if outcome.violation:
        found.append(f"not HTTP: {outcome.violation}")
    text = sent.data.decode("latin-1")
    finals = outcome.finals
    for at, response in enumerate(finals):
        found += [f"answer {at + 1}: {fault}" for fault in _wrong(response, at, reading)]
        strangers = [name for name in _identities(response) if name not in text]
        if strangers:
            found.append(f"answer {at + 1} carries ids of somebody else: {strangers}")
    if sent.ending is Ending.HALF_CLOSE and not found:
        found += _end(reading, finals, outcome.end)
    return found


def _wrong(response: Response, at: int, reading: Reading) -> list[str]:
    """Faults of the answer in this place."""
    if at < len(reading.requests):
        return list(_unlike(response, reading.requests[at]))
    if at > len(reading.requests) or reading.stage in {Stage.IDLE, Stage.LAST}:
        return [f"{response!r} to nothing"]
    if response.status not in reading.faults | SEEN_EARLY:
        return [f"{response!r} to what ends {reading.stage.value}: {sorted(reading.faults)}"]
    if response.all("X-Echo"):
        return ["the application was called"]
    return []


def _unlike(response: Response, request: Request) -> list[str]:
    """How an answer differs from what the application says to this very request."""
    identity = request.fields.get("HTTP_X_ID", "")
    way = way_of(identity)
    if way is Way.ERROR:
        return [] if response.status == 500 else [f"{response!r} instead of 500"]
    checksum = "unread" if way is Way.UNREAD else f"{len(request.body)} {zlib.crc32(request.body)}"
    due = {"X-Echo": identity, "X-Target": request.target, "X-Body": checksum}
    return [
        f"{name} is {response.all(name)} instead of {value!r} ({response!r})"
        for name, value in due.items()
        if response.all(name) != [value]
    ]


def _identities(response: Response) -> set[str]:
    shown = " ".join([*response.all("X-Echo"), *response.all("X-Target")])
    return set(IDENTITY.findall(shown + " " + response.body[:100].decode("latin-1")))


def _end(reading: Reading, finals: list[Response], end: End) -> list[str]:
    """Faults of how many answers there were and how the connection ended, the client having half-closed."""
    due = len(reading.requests) + (reading.stage not in {Stage.IDLE, Stage.LAST})
    if end is End.RESET and reading.stage is Stage.LAST:
        return []  # the client has asked for the close and sent more all the same
    found = [] if end is End.FIN else [f"the connection was {end.value}"]
    announced = bool(finals) and "close" in finals[-1].tokens("Connection")
    if len(finals) < due and not announced:
        found.append(f"{len(finals)} answers instead of {due}")
    if finals and not finals[-1].complete:
        found.append(f"the last answer is cut off: {finals[-1]!r}")
    return found
