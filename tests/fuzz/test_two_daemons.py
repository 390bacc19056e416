"""The judge of two daemons beside each other: what it would notice. They themselves are a part of the long run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import two_daemons
from .two_daemons import Conversation, Served, differences, make

SCRIPT = Conversation("c1", (b"",), (0.0,), (1, 0.0), small_buffer=False, leaves=-1, requests=2)
LINES = ["GET /c1-0?a HTTP/1.1 200 5", "GET /c1-1?a HTTP/1.1 200 5"]


class Silent(Served):
    """It has logged what it has."""

    def read(self) -> None:
        pass


def served(got: bytes = b"same", lines: list[str] = LINES) -> Served:
    nobody: Any = None
    made = Silent(nobody, nobody, nobody, Path())
    made.got["c1"] = got
    made.lines["c1"] = lines
    return made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_daemons, "PATIENCE_SECONDS", 0.1)


def test_the_same_seed_makes_the_same_conversation() -> None:
    assert make(3, 14) == make(3, 14)
    assert make(3, 14) != make(4, 14)


def test_what_is_equal_is_right() -> None:
    assert differences([SCRIPT], served(), served()) == []


@pytest.mark.parametrize(
    ("make_other", "told"),
    [
        (lambda: served(b"sane"), "4 and 4 bytes, from 2 on"),
        (lambda: served(b"same, and more"), "4 and 14 bytes, from 4 on"),
        (lambda: served(lines=LINES[:1]), "logged\n"),
        (lambda: served(lines=LINES[::-1]), "in the order [1, 0]"),
        (lambda: served(lines=[*LINES, LINES[1]]), "in the order [0, 1, 1]"),
    ],
    ids=["a byte", "more bytes", "a line is missing", "lines in another order", "a line twice"],
)
def test_a_difference_is_told(make_other: Callable[[], Served], told: str) -> None:
    (*_, fault) = differences([SCRIPT], served(), make_other())
    assert told in fault
