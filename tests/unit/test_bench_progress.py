"""What people see of a run: how long it still takes, its tables, its verdicts."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest

from bench import report
from bench.figures import NOT_MEASURED, Row, Verdict
from bench.progress import Remaining, spoken, with_progress
from bench.promises import all_verdicts, promises, scaling, targets_as_json


@dataclass
class Step:
    title: str
    estimate: float


def document(**other: Any) -> dict[str, Any]:
    return {"format": 1, "servers": [{"name": "miniwsgi", "kind": "ours"}], "workloads": [], "cells": [], **other}


def operation(name: str, *values: float, void: str = "") -> dict[str, Any]:
    return {"server": "miniwsgi", "name": name, "unit": "s", "values": list(values), "void": void, "note": ""}


def test_the_time_left_follows_the_estimates_and_then_the_pace() -> None:
    now = 100.0
    remaining = Remaining([10.0] * 100, clock=lambda: now)
    assert remaining.left == 1000.0
    remaining.done, now = 500.0, 100.0 + 1000.0  # everything takes twice as long
    assert remaining.left == pytest.approx(1000.0)
    remaining.done = 1000.0
    assert (remaining.left, remaining.share) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (185, "3 min 5 s"), (2465, "41 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    for step in with_progress([Step("hello: bjoern", 1.0), Step("hello: uwsgi", 1.0)], stream):
        assert stream.getvalue().endswith(f"left] {step.title}\n")
    assert stream.getvalue().startswith("[1/2, 0 s, 2 s left] hello: bjoern\n")


def test_every_target_has_a_verdict_even_when_nothing_ran() -> None:
    rows = all_verdicts(document())
    assert len(rows) >= 18
    assert {row.verdict for row in rows if row.target} == {Verdict.VOID}
    assert {row.note for row in rows} == {NOT_MEASURED}
    assert report.summary(rows) == f"{len(rows)} targets: 0 met, 0 missed, {sum(bool(row.target) for row in rows)} void"


def test_operations_are_held_to_what_was_promised_in_its_unit() -> None:
    found = document(
        operations=[
            operation("cold start", 0.4, 0.5, 0.9),
            operation("reload", 1.5),
            operation("memory of the master", 30 << 20),
            operation("scrape", void="nothing was scraped"),
        ]
    )
    rows = {row.name: row for row in promises(found)}
    assert (rows["cold start"].verdict, rows["cold start"].value) == (Verdict.MET, 0.5)
    assert rows["reload"].verdict is Verdict.MISSED
    assert (rows["memory of the master"].value, rows["memory of the master"].target) == (30.0, "≤ 45 MiB")
    assert (rows["scrape"].verdict, rows["scrape"].note) == (Verdict.VOID, "nothing was scraped")
    assert {"name": "reload: of 4 workers, s", "target": "≤ 1 s", "value": 1.5, "verdict": "missed"}.items() <= (
        targets_as_json([rows["reload"]])[0].items()
    )


def test_workloads_are_held_to_what_was_promised() -> None:
    rounds = [{"round": 0, "rate": 1.0, "user_us": 1.0, "system_us": 1.0, "p50": 0.001, "p99": 0.1, "errors": 0}]
    cells = [
        {
            "server": "miniwsgi",
            "workload": name,
            "void": "",
            "note": "",
            "rounds": rounds,
            "fixed": fixed,
            "extra": extra,
        }
        for name, fixed, extra in (
            ("mixed", {"p99": 0.006}, {}),
            ("beside-cpu", None, {}),
            ("idle-10000", None, {"bytes_each": 1024.0, "speed": 0.85}),
            ("workers-2", None, {"unevenness": 0.04}),
            ("workers-4", None, {"unevenness": 0.2}),
        )
    ]
    rows = promises(document(cells=cells))[:6]
    assert [row.verdict.value for row in rows] == ["met", "missed", "met", "missed", "met", "missed"]
    assert [row.value for row in rows] == pytest.approx([1.0, 6.0, 1.0, 0.85, 0.04, 0.2])


def test_several_workers_stand_beside_one() -> None:
    rounds = [{"round": 0, "rate": 100.0, "errors": 0}], [{"round": 0, "rate": 190.0, "errors": 0}]
    names = ("workers-1", "workers-2")
    cells = [{"server": "miniwsgi", "workload": name, "rounds": one} for name, one in zip(names, rounds, strict=True)]
    two, four = scaling(document(cells=cells))
    assert (two.value, two.target, two.verdict) == (1.9, "", Verdict.NONE)
    assert (four.value, four.note) == (None, NOT_MEASURED)


def test_every_cell_and_operation_has_a_row_and_a_void_one_its_reason() -> None:
    rounds = [{"round": 0, "rate": 1000.0, "user_us": 6.0, "system_us": 4.0, "p50": 0.001, "p99": 0.1, "errors": 0}]
    cells = [
        {"server": "miniwsgi", "workload": "hello", "void": "", "note": "a note", "rounds": rounds},
        {"server": "bjoern", "workload": "hello", "void": "12 errors", "note": "", "rounds": rounds},
    ]
    rows = report.rows_of(
        document(cells=cells, operations=[operation("cold start", 0.4), operation("reload", void="no")])
    )
    assert [row.figure for row in rows] == ["1,000 req/s · CPU 10.0 µs", "–", "0.4 s", "–"]
    assert rows[0].note.endswith("a note")
    assert [row.note for row in rows[1::2]] == ["12 errors", "no"]


def test_the_plain_table_lines_up() -> None:
    row = Row("hello", "bjoern", "1 req/s", 1.0, note="slow")
    header, line = report.plain(report.HEADINGS, [report.cells(row)]).splitlines()
    assert line.index("bjoern") == header.index("server")
    assert line.index("slow") == header.index("note")


def test_results_are_named_by_date_and_processor(tmp_path: Any) -> None:
    about = {"started": "2026-11-20T14:00:00Z", "machine": {"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 2}}
    assert report.standard_path(tmp_path, about).name == "2026-11-20-intel-xeon-2-cores.json"
