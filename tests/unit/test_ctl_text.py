"""How numbers, durations and tables are written; and that nothing printed steers a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from miniwsgi.manager.client import text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (-0.0000001, "0 µs"),
        (-0.0, "0 µs"),
        (0.0000004, "0 µs"),
        (0.00085, "850 µs"),
        (0.00099949, "999 µs"),
        (0.0009996, "1.0 ms"),
        (0.0012, "1.2 ms"),
        (0.0994, "99.4 ms"),
        (0.25, "250 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (99.9, "99.9 s"),
        (99.96, "1m39s"),
        (7260, "2h1m"),
    ],
)
def test_measured_durations(value: float | None, said: str) -> None:
    assert text.seconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (-1, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (200, "3m20s"),
        (3600, "1h"),
        (18720, "5h12m"),
        (86400, "1d"),
        (86400 * 400 + 3600 * 3 + 59, "400d3h"),
    ],
)
def test_ages(value: float | None, said: str) -> None:
    assert text.age(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (34 << 20, "34.0 MiB"), (512 << 20, "512 MiB")],
)
def test_sizes(value: int | None, said: str) -> None:
    assert text.size(value) == said


@pytest.mark.parametrize(("value", "said"), [(None, "-"), (0.0, "0"), (0.44, "0.4"), (99.9, "99.9"), (812.4, "812")])
def test_rates(value: float | None, said: str) -> None:
    assert text.rate(value) == said


def test_moments() -> None:
    assert text.ago(datetime.now(UTC) - timedelta(seconds=200.5)) == "3m20s ago"
    moment = datetime(2026, 3, 1, 12, 0, 1, 42_000, tzinfo=UTC)
    assert text.clock(moment).endswith(":01.042")
    assert text.clock(moment, date=True).startswith("2026-0")


def test_control_characters_are_written_out() -> None:
    assert text.clean("/naïve – path") == "/naïve – path"
    assert text.clean("\x1b[2J\x07\r\n\x9b31m\u202e") == r"\x1b[2J\x07\r\n\x9b31m\u202e"
    assert text.clean("one\n\ttwo\x1b", lines=True) == "one\n\ttwo\\x1b"


def test_a_table_is_aligned_and_its_last_column_is_cut() -> None:
    rows = [("0", "ready", "GET /a/long/path"), ("11", "x", "")]
    assert text.table(("SLOT", "STATE", "RUNNING"), rows, right="r") == [
        "SLOT  STATE  RUNNING",
        "   0  ready  GET /a/long/path",
        "  11  x",
    ]
    narrow = text.table(("SLOT", "STATE", "RUNNING"), rows, right="r", width=22)
    assert narrow[1] == "   0  ready  GET /a/l…"
    assert max(map(len, narrow)) == 22


def test_a_table_cannot_be_broken_by_what_is_in_it() -> None:
    assert text.table(("A",), [("one\ntwo\x1b[31m",)]) == ["A", r"one\ntwo\x1b[31m"]


def test_columns_go_in_their_order_until_there_is_room() -> None:
    widths = {"SLOT": 6, "PID": 8, "GEN": 5, "RSS": 10}
    dispensable = ("PID", "LATER", "RSS")
    gone = {room: text.left_out(widths, dispensable, room) & widths.keys() for room in (29, 28, 21, 20, 0)}
    assert gone == {29: set(), 28: {"PID"}, 21: {"PID"}, 20: {"PID", "RSS"}, 0: {"PID", "RSS"}}
