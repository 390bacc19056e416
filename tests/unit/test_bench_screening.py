"""Who goes on after a few short rounds, and the tables that are filled from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import published
from bench.document import DocumentError
from bench.plan import OTHERS_ROUNDS, QUICK_OPERATIONS, TARGET_ROUNDS, chosen_operations, chosen_workloads, steps
from bench.published import publish
from bench.results_file import Results
from bench.screening import Screening, is_open, taking_part, with_the_screened
from bench.targets import TARGETS, contenders
from bench.trial import ROOT as REPOSITORY
from bench.workloads import WORKLOADS, quick_workloads
from tests.support.bench_document import document

RATES = {"miniwsgi": 90.0, "miniwsgi-plain": 60.0, "bjoern": 80.0, "granian": 70.0, "gunicorn-gthread": 10.0}


def cpu(data: dict[str, Any], server: str, microseconds: float) -> None:
    for one in data["cells"]:
        if one["server"] == server:
            for sample in one["rounds"]:
                sample.update(user_us=microseconds, system_us=0.0)


def test_the_best_by_rate_and_by_cpu_go_on_and_whom_a_target_names() -> None:
    data = document({"flask": RATES})
    cpu(data, "gunicorn-gthread", 1.0)
    assert set(contenders(data, "flask", tuple(RATES), 1)) == {"bjoern", "gunicorn-gthread", "miniwsgi-plain"}


def test_a_target_on_cpu_is_for_those_that_use_least() -> None:
    data = document({"hello": RATES})
    cpu(data, "granian", 1.0)
    assert contenders(data, "hello", tuple(RATES), 1) == ["granian"]
    data["cells"] = [{**one, "void": "3 errors"} if one["server"] == "granian" else one for one in data["cells"]]
    assert contenders(data, "hello", tuple(RATES), 1) == ["bjoern"]


def screened(rates: dict[str, float], workload: str) -> Results:
    found = Results()
    for name, rate in rates.items():
        sample = {"round": 0, "rate": rate, "user_us": 1e6 / rate, "system_us": 0.0, "errors": 0}
        found.cell(workload, name).rounds.append({**sample, "p50": 0.1, "p99": 0.2})
    return found


def test_who_does_not_go_on_keeps_its_row() -> None:
    results, first = Results(), screened({"bjoern": 80.0, "granian": 70.0}, "json")
    whole = WORKLOADS["json"]
    reduced = Screening(rounds=2, best=1, seconds=0.5).reduced(whole, first)
    assert reduced.servers == ("miniwsgi", "bjoern")
    assert taking_part([whole], [reduced]) == [whole]
    results.cell("json", "bjoern").rounds.append({"round": 0, "rate": 81.0, "errors": 0})
    with_the_screened(results, first)
    assert {cell.server: (cell.screened, cell.rounds[0]["rate"]) for cell in results.cells.values()} == {
        "bjoern": (False, 81.0),
        "granian": (True, 70.0),
    }


def test_a_target_that_names_its_peer_needs_no_screening() -> None:
    assert {name for name in quick_workloads() if not is_open(name)} >= {"mixed", "idle-10000", "workers-4"}
    mixed, alone = WORKLOADS["mixed"], WORKLOADS["workers-4"]
    reduce = Screening(rounds=2, best=1, seconds=0.5).reduced
    assert reduce(mixed, Results()).servers == ("miniwsgi", "granian")
    assert reduce(alone, Results()).servers == ("miniwsgi",)
    assert taking_part([mixed], [reduce(mixed, Results())])[0].servers == ("miniwsgi", "granian")


def test_a_run_of_what_has_a_target_has_all_servers_and_others_operations_seldom() -> None:
    workloads = chosen_workloads(None, None, quick=False, targets=True)
    assert {held.workload for held in TARGETS} <= {one.name for one in workloads}
    assert [one.servers for one in workloads] == [WORKLOADS[one.name].servers for one in workloads]
    operations = chosen_operations(None, None, quick=False, targets=True)
    assert len(operations) == len(QUICK_OPERATIONS)
    reloads = [operation for operation in operations if operation.name == "reload"]
    found = steps([], reloads, 7, object(), system_calls=False, others_rounds=OTHERS_ROUNDS)  # type: ignore[arg-type]
    assert len(found) == TARGET_ROUNDS + OTHERS_ROUNDS * (len(reloads[0].servers) - 1)


# --- tables elsewhere ---------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("before\n<!-- bench:table -->\nold\n<!-- /bench:table -->\nafter\n", "utf-8")
    (tmp_path / "docs/benchmarks.md").write_text("<!-- bench:targets -->\n<!-- /bench:targets -->\n", "utf-8")
    return tmp_path


def test_tables_are_filled_with_what_was_measured_and_nothing_else_is_touched(root: Path) -> None:
    data = document({"hello": {"miniwsgi": 125e3, "bjoern": 100e3, "granian": 50e3, "gunicorn-gthread": 10e3}})
    data["settings"]["screening"] = {"rounds": 2, "seconds": 0.5, "best": 1}
    data["cells"][2]["screened"] = True
    data["cells"][0]["extra"] = {"engine": "compiled"}
    assert publish(data, root) == [root / "README.md", root / "docs/benchmarks.md"]
    text = (root / "README.md").read_text("utf-8")
    assert text.startswith("before\n<!-- bench:table -->\nminiwsgi 0.9 with its compiled engine on 2026-01-02: one")
    assert text.endswith("\n<!-- /bench:table -->\nafter\n")
    assert "old" not in text
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "|  | miniwsgi | best peer | ratio | granian 2.0 | gunicorn-gthread 27.0 |",
        "|---|---|---|---|---|---|",
        "| hello-world: CPU µs a request | 8 | bjoern 10 | 0.80 | ~20 | 100 |",
    ]
    targets = (root / "docs/benchmarks.md").read_text("utf-8")
    assert "1 met, 0 missed, 0 void." in targets
    assert "| hello | CPU µs a request | 8 | bjoern | 10 | 0.80 | ≤ 0.92 × the best peer | met |\n" in targets
    assert "flask" not in text + targets


def test_what_is_promised_without_a_peer_has_a_row(root: Path) -> None:
    data = document({})
    reload = {"server": "miniwsgi", "name": "reload", "unit": "s", "values": [0.25], "note": "", "void": ""}
    data["operations"] = [{**reload, "failed_requests": 0}]
    publish(data, root)
    assert "| reload: of 4 workers, s | 0.25 | – | – | – | – |\n" in (root / "README.md").read_text("utf-8")


def test_a_text_without_a_place_is_refused_and_nothing_written(root: Path) -> None:
    (root / "docs/benchmarks.md").write_text("no place", "utf-8")
    before = (root / "README.md").read_bytes()
    with pytest.raises(DocumentError, match=r"benchmarks\.md: no place for a table between <!-- bench:targets -->"):
        publish(document(), root)
    assert (root / "README.md").read_bytes() == before


def test_our_texts_have_their_places() -> None:
    for path, name in (("README.md", "table"), ("docs/benchmarks.md", "targets")):
        text = (REPOSITORY / path).read_text("utf-8")
        assert published.filled(text, name, iter(["x"]), path).count("<!-- ") == text.count("<!-- ")
