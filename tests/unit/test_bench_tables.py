"""RESULTS.md: the figures where they belong, ratios, what is void and why, the road, the targets."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench.document import CPU, MEMORY, P999, RATE, Document, DocumentError, least, ratio
from bench.figures import Target, Verdict
from bench.tables import write_markdown
from bench.targets import TARGETS, Held, verdicts
from tests.support.bench_document import RATES, cell, document, rounds


def page(data: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "RESULTS.md"
    write_markdown(data, path)
    return path.read_text("utf-8")


def rows(text: str, heading: str) -> list[dict[str, str]]:
    """The first table below a heading: column -> cell, row by row."""
    part = text.partition(f"\n{heading}\n")[2]
    lines = []
    for line in part.splitlines():
        if line.startswith("#"):
            break
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")])
        elif lines:
            break
    headings, _rule, *body = lines
    return [dict(zip(headings, line, strict=True)) for line in body]


def find(data: dict[str, Any], server: str, workload: str = "hello") -> dict[str, Any]:
    return next(one for one in data["cells"] if (one["server"], one["workload"]) == (server, workload))


def test_a_row_has_what_was_measured(tmp_path: Path) -> None:
    data = document()
    find(data, "miniwsgi")["system_calls"] = 3.02
    row = next(row for row in rows(page(data, tmp_path), "### hello") if row["server"] == "**miniwsgi**")
    assert row == {
        "server": "**miniwsgi**",
        "requests/s": "60,000 (59,400–60,600)",
        "× peer": "0.60",
        "× floor": "0.30",
        "CPU µs (user + system)": "16.7 (10.0 + 6.67)",
        "p50 / p99 / p99.9, ms": "0.53 / 1.07 / 1.60",
        "calls": "3.02",
        "PSS, MiB": "24.0",
        "errors": "0",
    }


def test_rows_go_from_the_fastest_to_the_slowest(tmp_path: Path) -> None:
    names = [row["server"].strip("*") for row in rows(page(document(), tmp_path), "### hello")]
    assert names == sorted(RATES, key=lambda name: (-RATES[name], name))


def test_what_does_not_count_stands_last_with_its_reason(tmp_path: Path) -> None:
    data = document()
    find(data, "fastwsgi").update(void="12 errors", rounds=rounds(100e3, errors=4))
    data["cells"].remove(find(data, "granian"))
    next(one for one in data["servers"] if one["name"] == "granian")["missing"] = "no wheel | for this machine"
    found = rows(page(data, tmp_path), "### hello")
    last = {row["server"]: (row["requests/s"], row["errors"]) for row in found[-2:]}
    assert last == {"fastwsgi": ("void: 12 errors", "12"), "granian": ("void: no wheel \0 for this machine", "")}
    # nobody is compared with it either
    assert next(row for row in found if row["server"] == "bjoern")["× peer"] == "1.00"


def test_a_workload_that_nobody_reached_says_so(tmp_path: Path) -> None:
    data = document()
    data["cells"] = []
    data["interrupted"] = True
    text = page(data, tmp_path)
    assert {row["requests/s"] for row in rows(text, "### hello")} == {"void: not measured"}
    assert "interrupted" in text


def test_a_workload_without_a_floor_has_no_ratio_to_it(tmp_path: Path) -> None:
    data = document({"flask": {"miniwsgi": 3e3, "bjoern": 4e3}})
    assert {row["× floor"] for row in rows(page(data, tmp_path), "### flask")} == {"–"}


def test_figures_that_are_not_there_are_no_zeros(tmp_path: Path) -> None:
    data = document()
    for sample in find(data, "bjoern")["rounds"]:
        del sample["p999"]
        sample["pss_bytes"] = sample["user_us"] = None
    row = next(row for row in rows(page(data, tmp_path), "### hello") if row["server"] == "bjoern")
    assert row["p50 / p99 / p99.9, ms"] == "0.40 / 0.80 / –"
    assert (row["PSS, MiB"], row["CPU µs (user + system)"]) == ("–", "–")


def test_a_saturated_generator_is_marked_and_a_busy_machine_noted(tmp_path: Path) -> None:
    data = document()
    for sample in find(data, "fastwsgi")["rounds"]:
        sample.update(saturated=True, others=0.5)
    text = page(data, tmp_path)
    found = {row["server"].strip("*"): row for row in rows(text, "### hello")}
    assert found["fastwsgi"]["requests/s"] == "100,000 (99,000–101,000) †"
    ratios = {name: (found[name]["× peer"], found[name]["× floor"]) for name in ("fastwsgi", "miniwsgi")}
    assert ratios == {"fastwsgi": ("1.00", "≥ 0.50"), "miniwsgi": ("≤ 0.60", "0.30")}
    assert "- others used the processors meanwhile: fastwsgi\n" in text
    data["settings"]["others"] = 0.3
    assert "others used 30% of a core" in page(data, tmp_path)


def test_notes_and_what_is_extra_stand_below_the_table(tmp_path: Path) -> None:
    data = document()
    extra = {"shares": [0.26, 0.74], "answered": [0.51, 0.49]}
    extra |= {"idle": {"connections": 10_000, "bytes_each": 2048.0}}
    extra |= {"bytes_each": 2048.0, "speed": 0.953, "slow_answered": 7}
    find(data, "miniwsgi").update(note="2 workers", extra=extra)
    expected = "- miniwsgi: 2 workers; shares of the workers 26%, 74%; requests by worker 51%, 49%; "
    expected += "10,000 idle connections at 2,048 bytes each; "
    assert expected + "0.95 × its speed without them; slow answered 7\n" in page(data, tmp_path)


def test_latency_at_a_fixed_rate_has_a_table_of_its_own_the_lowest_first(tmp_path: Path) -> None:
    data = document()
    for server, p99 in (("bjoern", 0.004), ("miniwsgi", 0.002)):
        find(data, server)["fixed"] = {"rate": 2000.0, "p50": 0.001, "p99": p99, "p999": None, "late_p99": 2e-5}
    table = page(data, tmp_path).partition("At a fixed rate, counted")[2].split("\n")[2:6]
    cells = [[one.strip() for one in line.strip("|").split("|")] for line in table]
    assert cells[2] == ["**miniwsgi**", "2,000", "1.00", "2.00", "–", "0.02"]
    assert cells[3][0] == "bjoern"


def test_the_road_stands_first_beside_what_was_published(tmp_path: Path) -> None:
    data = document({"hello": RATES, "connection-per-request": {"fork": 900.0, "miniwsgi": 9e3}})
    find(data, "single")["void"] = "3 errors"
    text = page(data, tmp_path)
    assert text.index("## The road") < text.index("## Targets") < text.index("## Workloads")
    found = {row["here"]: row for row in rows(text, "## The road")}
    assert [row["published, requests/s"] for row in found.values()] == [
        *("–", "never filled in", "739", "4,128", "4,128", "–", "3,613")
    ]
    assert found["fork"]["requests/s"] == "1,000 (990–1,010)"
    assert found["fork"]["a connection each, requests/s"] == "900 (891–909)"
    assert found["single"]["requests/s"] == "void: 3 errors"
    assert found["prefork"]["a connection each, requests/s"] == "–"


def test_targets_stand_with_what_was_reached(tmp_path: Path) -> None:
    data = document()
    start = {"server": "miniwsgi", "name": "cold start", "unit": "s", "values": [0.5], "note": "", "void": ""}
    data["operations"] = [{**start, "failed_requests": None}]
    found = {(row["workload"], row["target"]): row for row in rows(page(data, tmp_path), "## Targets")}
    hello, own = found["hello", "≤ 0.92 × the best peer"], found["cold start", "≤ 0.6 s"]
    shown = [hello[name] for name in ("figure", "ours", "best peer", "theirs", "ratio", "verdict")]
    assert shown == ["CPU µs a request", "16.7", "fastwsgi", "10", "1.67", "**missed**"]
    assert hello["note"] == "user + system 10.0 + 6.7, fastwsgi 6.0 + 4.0"
    assert (own["figure"], own["ours"], own["verdict"]) == ("to the first answer, s", "0.5", "met")
    assert (found["file", "≤ 1.05 × the best peer"]["verdict"], found["reload", "≤ 1 s"]["ours"]) == ("**void**", "–")


def test_operations_are_in_the_unit_that_reads_best(tmp_path: Path) -> None:
    data = document()
    common = {"server": "miniwsgi", "failed_requests": None, "note": "", "void": ""}
    data["operations"] = [
        {**common, "name": "reload", "unit": "s", "values": [], "void": "has none", "server": "bjoern"},
        {**common, "name": "reload", "unit": "s", "values": [1.5, 1.4, 1.6], "failed_requests": 0},
        {**common, "name": "cold start", "unit": "s", "values": [0.25], "note": "warm cache"},
        {**common, "name": "idle connection", "unit": "bytes", "values": [3000.0, 3072.0, 3100.0]},
    ]
    found = [list(row.values()) for row in rows(page(data, tmp_path), "## Operations")]
    assert found == [
        ["reload", "**miniwsgi**", "1.50 s (1.40–1.60)", "0", ""],
        ["cold start", "**miniwsgi**", "250.0 ms", "–", "warm cache"],
        ["idle connection", "**miniwsgi**", "3.00 KiB (2.93–3.03)", "–", ""],
        ["reload", "bjoern", "void: has none", "–", ""],
    ]


def test_it_says_how_it_was_measured_and_names_no_folder(tmp_path: Path) -> None:
    data = document()
    data["servers"][-1]["command"] = "/srv/venv/bin/python -m gunicorn --chdir /srv/apps --bind=unix:/run/a.sock a:b"
    text = page(data, tmp_path)
    assert "Imaginary 3000, 2 cores, 8.0 GiB of memory, Linux 6.12.1, Python 3.11.2, gcc 12.2.0, wrk 4.1.0." in text
    assert "bjoern 3.2.2" in text
    assert "`python -m gunicorn --chdir apps --bind=unix:a.sock a:b`" in text


def test_paragraphs_fit_a_terminal_and_tables_line_up(tmp_path: Path) -> None:
    text = page(document(), tmp_path)
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))
    table = [line for line in text.partition("### hello")[2].splitlines() if line.startswith("|")]
    assert len({len(line) for line in table[: len(RATES) + 2]}) == 1


def test_plots_that_are_there_are_linked(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name in ("hello.svg", "hello-latency.svg", "overview.svg"):
        (tmp_path / "results" / name).touch()
    text = page(document(), tmp_path)
    assert "](results/hello.svg)" in text
    assert "](results/hello-latency.svg)" in text
    assert "](results/overview.svg)" in text
    assert "memory.svg" not in text


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="format 2, this reads format 1"):
        write_markdown({"format": 2}, tmp_path / "RESULTS.md")
    assert not list(tmp_path.iterdir())


# --- reading and targets ----------------------------------------------------------------------------------------


def test_ratios_are_taken_within_rounds() -> None:
    data = document()
    for sample, slow in zip(find(data, "miniwsgi")["rounds"], (1.0, 0.1, 1.0), strict=True):
        sample["rate"] = 50e3 * slow
    for sample, slow in zip(find(data, "bjoern")["rounds"], (1.0, 0.1, 1.0), strict=True):
        sample["rate"] = 100e3 * slow
    found = Document(data)
    ours, peer = found.cells["hello", "miniwsgi"], found.cells["hello", "bjoern"]
    assert ratio(ours, peer) == pytest.approx(0.5)
    del find(data, "bjoern")["rounds"][0]  # a round that failed: those that are left say which they were
    for number, sample in enumerate(find(data, "bjoern")["rounds"], 1):
        sample["round"] = number
    assert ratio(ours, peer) == pytest.approx(0.5)


def test_medians_and_the_least() -> None:
    found = Document(document())
    ours = found.cells["hello", "miniwsgi"]
    assert ours.median(RATE) == pytest.approx(60e3)
    assert ours.median(CPU) == pytest.approx(1e6 / 60e3)
    assert (ours.median(MEMORY), ours.errors) == (24 << 20, 0)
    assert ours.median(P999) == pytest.approx(96 / 60e3)
    assert (least(found.of("hello"), CPU) or ours).server == "echo-c"


def every_target() -> dict[str, Any]:
    names = dict.fromkeys(one.workload for one in TARGETS)
    rates = {"miniwsgi": 90e3, "miniwsgi-plain": 60e3, "bjoern": 70e3, "granian": 69e3}
    return document(dict.fromkeys(names, rates))


def fix(one: dict[str, Any], p99: float) -> None:
    one["fixed"] = {"rate": 1000.0, "p50": 0.001, "p99": p99, "p999": None, "late_p99": 0.0}
    one["fixed_runs"] = [{"round": number, **one["fixed"]} for number in range(3)]


def test_targets_are_met_where_we_are_better() -> None:
    data = every_target()
    for one in data["cells"]:
        fix(one, 0.002)
    found = verdicts(data)
    assert [row.verdict for row in found] == [Verdict.MET] * len(TARGETS)
    assert [row.ratio for row in found if row.name == "flask"] == pytest.approx([90 / 70, 1.5])
    assert [row.ratio for row in found if row.name == "hello"] == pytest.approx([70 / 90])


def test_targets_are_missed_where_we_are_not() -> None:
    data = every_target()
    for one in data["cells"]:
        ours = one["server"] == "miniwsgi"
        one["rounds"] = rounds(10e3 if ours else 90e3)
        fix(one, 0.009 if ours else 0.002)
    found = verdicts(data)
    assert [row.verdict for row in found] == [Verdict.MISSED] * len(TARGETS)
    assert {row.peer for row in found} == {"bjoern", "granian", "miniwsgi-plain"}


def test_targets_without_figures_are_void_and_say_why() -> None:
    data = every_target()
    for name in ("bjoern", "granian"):
        find(data, name, "hello")["void"] = "2 errors"
    find(data, "miniwsgi", "flask")["void"] = "5 errors"
    data["cells"] = [one for one in data["cells"] if one["workload"] != "file"]
    notes = {(row.name, row.target): row.note for row in verdicts(data) if row.verdict is Verdict.VOID}
    assert notes["hello", "≤ 0.92 × the best peer"] == "bjoern: 2 errors; granian: 2 errors"
    assert notes["flask", "≥ 1 × the best peer"] == "5 errors"
    assert notes["file", "≤ 1.05 × the best peer"] == "not measured"
    assert notes["mixed", "≤ 1 × granian"] == "granian: no figure"
    assert all(row.verdict is Verdict.VOID for row in verdicts(document({})))


def test_a_target_against_a_server_holds_against_each_of_its_configurations() -> None:
    data = document({"hello": {"miniwsgi": 90e3, "granian": 50e3}})
    data["servers"].append({**data["servers"][-1], "name": "granian-default", "kind": "peer"})
    data["cells"].append(cell("granian-default", "hello", 100e3))
    (found,) = verdicts(data, (Held("hello", Target(at_least=1.0), peer="granian"),))
    assert (found.peer, found.theirs, found.verdict) == ("granian-default", pytest.approx(100e3), Verdict.MISSED)


def test_who_was_only_screened_is_nobodys_best_peer(tmp_path: Path) -> None:
    data = document()
    data["settings"]["screening"] = {"rounds": 2, "seconds": 0.5, "best": 1}
    find(data, "fastwsgi")["screened"] = True
    text = page(data, tmp_path)
    found = {row["server"].strip("*"): row for row in rows(text, "### hello")}
    assert (found["fastwsgi"]["requests/s"], found["fastwsgi"]["× peer"]) == ("100,000 (99,000–101,000) ‡", "–")
    assert (found["bjoern"]["× peer"], found["miniwsgi"]["× peer"]) == ("1.00", "0.75")
    assert "‡ 2 rounds of 0.5 s only" in text
    assert {row.peer for row in verdicts(data) if row.name == "hello"} == {"bjoern"}


def test_p99_is_compared_within_rounds() -> None:
    data = document({"mixed": {"miniwsgi": 1e3, "granian": 1e3}})
    for one, times in zip(data["cells"], ((0.002, 0.001, 0.009), (0.004, 0.002, 0.001)), strict=True):
        one["fixed"] = {"p99": sorted(times)[1]}
        one["fixed_runs"] = [{"round": number, "p99": p99} for number, p99 in enumerate(times)]
    (found,) = verdicts(data, tuple(held for held in TARGETS if held.workload == "mixed"))
    assert (found.ratio, found.value, found.theirs) == (pytest.approx(0.5), pytest.approx(2.0), pytest.approx(2.0))


def test_a_peer_of_another_kind_does_not_count() -> None:
    data = document({"hello": {"miniwsgi": 90e3, "granian": 50e3, "bjoern": 100e3}})
    (found,) = verdicts(data, (Held("hello", Target(at_least=1.0), but=("bjoern",)),))
    assert (found.peer, found.verdict, found.target) == ("granian", Verdict.MET, "≥ 1 × the best peer but bjoern")


def test_where_the_generator_cannot_follow_the_cpu_decides() -> None:
    data = document({"hello": {"miniwsgi": 100e3, "granian": 101e3, "bjoern": 50e3}})
    for sample in find(data, "miniwsgi")["rounds"]:
        sample["saturated"] = True
    for name, microseconds in (("miniwsgi", 5.0), ("granian", 6.0), ("bjoern", 4.0)):
        for sample in find(data, name)["rounds"]:
            sample.update(user_us=microseconds, system_us=0.0)
    (found,) = verdicts(data, (Held("hello", Target(at_least=1.0)),))
    assert (found.peer, found.ratio, found.verdict) == ("bjoern", pytest.approx(0.8), Verdict.MISSED)
    assert found.figure == "CPU µs a request"
    assert found.note.startswith("wrk could not follow")


def test_the_page_says_from_which_rate_on_only_the_cpu_is_judged(tmp_path: Path) -> None:
    data = document()
    assert "The load generator followed" not in page(data, tmp_path)
    for server in ("fastwsgi", "bjoern"):
        for sample in find(data, server)["rounds"]:
            sample["saturated"] = True
    assert "followed to 80,000 requests/s" in " ".join(page(data, tmp_path).split())


def test_reading_changes_nothing(tmp_path: Path) -> None:
    data = document()
    before = copy.deepcopy(data)
    page(data, tmp_path)
    assert data == before
