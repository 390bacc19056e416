"""Each engine beside the plain one, on the same scripts: nothing differs; and a fault is found and made small."""

from __future__ import annotations

import re
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice, plain
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.http.connection import Connection, Parsing

from tests.support.effort import SEED, effort

from . import two_engines
from .conversations import make
from .two_engines import compare


@pytest.mark.timeout(1800)
def test_nothing_differs(engine: str) -> None:
    """Of the plain one beside itself neither: whatever is seen is so again."""
    inputs = effort(1000, 100_000)
    report = compare(("plain", engine), SEED, inputs)
    assert not report.faults, "\n".join(report.faults)
    assert report.inputs == inputs
    assert report.requests > inputs
    assert len(report.outcomes) > 35  # of 1,000 inputs, with any seed


def test_the_same_seed_makes_the_same_script() -> None:
    assert make(3, 14) == make(3, 14)
    assert make(3, 14) != make(4, 14)


# --- faults that such an engine might have ---


class Remembering(Connection):
    """Takes a head for the last one if it is as long and begins and ends like it."""

    __slots__ = ()

    def receive(self, data: bytes) -> bool:
        head = self.head
        if head is not None and self.state is Parsing.IDLE and len(data) == len(head.raw) + len(b"GET / HTTP/1.1"):
            data = data[: -len(head.raw)] + head.raw
        return super().receive(data)


class TakesForTheSame(plain.Conversation):
    engine = "planted"
    __slots__ = ()

    def __init__(self, site: Any, *rest: Any) -> None:
        super().__init__(site, *rest)
        http = self._http
        self._http = Remembering(http.limits, http.body_memory_bytes, http.spool_directory, http.base, http.known)


class LeavesOutAByte(plain.Conversation):
    engine = "planted"
    __slots__ = ()

    def send(self, data: bytes, /) -> bool:
        return super().send(data.replace(b"Content-Length: 100\r\n", b"Content-Length:100\r\n"))


class CountsTwice(plain.Conversation):
    engine = "planted"
    __slots__ = ()

    def settle(self) -> Outcome:
        if self._complete and self._call.status.startswith("404"):  # type: ignore[union-attr]
            self.site.account.failed()
        return super().settle()


@pytest.mark.parametrize(
    ("fault", "where"),
    [(TakesForTheSame, "environs|log"), (LeavesOutAByte, "sent"), (CountsTwice, "cells")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_fault_is_found_and_made_small(fault: Any, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_engines, "SHRINKING_SECONDS", 30.0)
    monkeypatch.setattr(two_engines, "MOST_FAULTS", 1)
    monkeypatch.setattr(choice, "ENGINES", [*choice.ENGINES, choice.Engine("planted", lambda: fault)])
    report = compare(("plain", "planted"), 1, 20_000)
    (found,) = report.faults
    assert re.search(f": ({where}):", found)
    assert found.count("Script(") <= 2
    assert len(found) < 8000
