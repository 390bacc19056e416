"""Comparing two runs: noise is silent, a slower machine is no regression, and what else differs is said first."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bench.compare import compare
from bench.document import DocumentError
from tests.support.bench_document import RATES, document


def change(data: dict[str, Any], factor: float, *servers: str, figures: tuple[str, ...] = ("rate",)) -> None:
    """Multiply figures of these servers, of all when none is named."""
    for one in data["cells"]:
        if not servers or one["server"] in servers:
            for sample in one["rounds"]:
                for figure in figures:
                    sample[figure] *= factor


@pytest.fixture
def old() -> dict[str, Any]:
    return document()


@pytest.fixture
def new() -> dict[str, Any]:
    return document()


def section(report: str, title: str) -> list[str]:
    """The lines of a section; none without one."""
    part = report.partition(f"\n{title}")[2].partition("\n")[2]
    return [line.strip() for line in part.partition("\n\n")[0].splitlines()] if part else []


def test_the_same_twice_is_no_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    report = compare(old, new)
    assert "Nothing changed beyond the noise." in report
    assert not section(report, "Better:")
    assert not section(report, "Worse:")
    assert "ranges of the rounds do not overlap" in report


def test_a_rate_that_fell_is_worse_and_one_that_rose_better(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 0.9, "miniwsgi")
    change(new, 1.5, "prefork")
    report = compare(old, new)
    assert section(report, "Worse:") == [
        "hello, miniwsgi, requests/s: -10.0% beside its peers (-10.0%: 60,000 → 54,000)"
    ]
    assert section(report, "Better:") == [
        "hello, prefork, requests/s: +50.0% beside its peers (+50.0%: 50,000 → 75,000)"
    ]


def test_cpu_that_rose_is_worse(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 1.2, "miniwsgi", figures=("user_us", "system_us"))
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, CPU µs a request: +20.0% beside its peers (+20.0%: 16.7 → 20.0)"
    ]


def test_memory_is_compared_by_itself(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 0.5, "miniwsgi", figures=("pss_bytes",))
    assert section(compare(old, new), "Better:") == ["hello, miniwsgi, PSS: -50.0% (24.0 MiB → 12.0 MiB)"]


@pytest.mark.parametrize("factor", [0.96, 1.04])
def test_a_small_difference_is_noise_even_without_overlap(
    factor: float, old: dict[str, Any], new: dict[str, Any]
) -> None:
    change(new, factor, "miniwsgi")  # the rounds lie within 1 %, so they do not overlap
    assert "Nothing changed" in compare(old, new)


def test_a_large_difference_is_noise_where_rounds_overlap(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 0.7, "miniwsgi")
    ours = next(one for one in new["cells"] if one["server"] == "miniwsgi")
    ours["rounds"][0]["rate"] = 60e3  # one round was as fast as before
    assert "Nothing changed" in compare(old, new)


def test_a_slower_day_of_the_machine_is_no_regression(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 0.7)
    change(new, 1 / 0.7, figures=("user_us", "system_us", "p50", "p99", "p999"))
    report = compare(old, new)
    assert "Nothing changed" in report
    assert "hello, requests/s: -30.0% (5 peers)" in section(report, "Drift of the peers")


def test_what_fell_more_than_the_machine_is_named_with_both_figures(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 0.8)
    change(new, 0.9, "miniwsgi")
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, requests/s: -10.0% beside its peers (-28.0%: 60,000 → 43,200)"
    ]


def test_what_did_not_get_faster_with_the_machine_is_worse(old: dict[str, Any], new: dict[str, Any]) -> None:
    change(new, 1.25)
    change(new, 0.8, "miniwsgi")
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, requests/s: -20.0% beside its peers (+0.0%: 60,000 → 60,000)"
    ]


def test_a_peer_of_another_version_is_no_reference(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["versions"] = {**new["versions"], "bjoern": "4.0"}
    change(new, 3.0, "bjoern")
    report = compare(old, new)
    assert section(report, "What else differs") == ["version bjoern: 3.2.2 → 4.0"]
    assert [line.partition(":")[0] for line in section(report, "Better:")] == ["hello, bjoern, requests/s"]
    assert not section(report, "Worse:")


def test_without_a_peer_the_figures_themselves_are_compared_and_it_is_said() -> None:
    old, new = (document({"hello": {"miniwsgi": 60e3}}) for _ in range(2))
    change(new, 0.5)
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, requests/s: -50.0%, not beside a peer (60,000 → 30,000)"
    ]


def test_without_a_peer_two_machines_are_not_compared() -> None:
    old, new = (document({"hello": {"miniwsgi": 60e3}}) for _ in range(2))
    change(new, 0.5)
    new["machine"]["cpu"] = "Imaginary 2000"
    report = compare(old, new)
    assert section(report, "What else differs") == ["machine cpu: Imaginary 3000 → Imaginary 2000"]
    assert "Nothing changed" in report


def test_machine_settings_and_workloads_that_differ_come_first(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["machine"].update(kernel="6.13", compiler=None)
    new["settings"]["rounds"] = 2
    new["workloads"][0]["connections"] = 128
    new["interrupted"] = True
    change(new, 0.5, "miniwsgi")
    report = compare(old, new)
    assert section(report, "What else differs") == [
        "machine kernel: 6.12.1 → 6.13",
        "machine compiler: gcc 12.2.0 → none",
        "setting rounds: 3 → 2",
        "workload hello, connections: 64 → 128",
        "the new run was interrupted",
    ]
    assert report.index("What else differs") < report.index("Worse:")
    assert "With 2 rounds, their ranges say little" in report


def test_who_came_and_went_is_said_once(old: dict[str, Any], new: dict[str, Any]) -> None:
    new = document({"hello": {**RATES}, "flask": {"miniwsgi": 3e3}})
    new["servers"] = [one for one in new["servers"] if one["name"] != "granian"]
    new["cells"] = [one for one in new["cells"] if one["server"] not in ("granian", "prefork")]
    next(one for one in new["cells"] if one["server"] == "fastwsgi")["void"] = "3 errors"
    next(one for one in old["cells"] if one["server"] == "bjoern")["void"] = "1 error"
    report = compare(old, new)
    assert section(report, "Came, went") == [
        "server granian went",
        "workload flask came",
        "hello, prefork: went",
        "hello, bjoern: counts now, was void: 1 error",
        "hello, fastwsgi: void now: 3 errors",
    ]
    assert "Nothing changed" in report


def test_latency_at_a_fixed_rate_needs_more_than_one_run(old: dict[str, Any], new: dict[str, Any]) -> None:
    for data, factor in ((old, 1.0), (new, 2.0)):
        for one in data["cells"]:
            scale = factor if one["server"] == "miniwsgi" else 1.0
            one["fixed_runs"] = [{"rate": 1e3, "p99": 0.004 * scale}, {"rate": 1e3, "p99": 0.005 * scale}]
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, p99 at a fixed rate: +100.0% beside its peers (+100.0%: 4.50 ms → 9.00 ms)"
    ]
    for one in new["cells"]:
        del one["fixed_runs"][1:]
    assert "Nothing changed" in compare(old, new)


def test_one_round_has_no_range(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["settings"]["rounds"] = 1
    for one in new["cells"]:
        one["rounds"] = one["rounds"][:1]
    change(new, 0.5, "miniwsgi")
    report = compare(old, new)
    assert "Nothing changed" in report
    assert "With 1 round there is no range" in report


def test_system_calls_and_operations_are_compared(old: dict[str, Any], new: dict[str, Any]) -> None:
    for data, calls in ((old, 3.0), (new, 3.5)):
        next(one for one in data["cells"] if one["server"] == "miniwsgi")["system_calls"] = calls
    reload = {"server": "miniwsgi", "name": "reload", "unit": "s", "note": "", "void": ""}
    start = {**reload, "name": "cold start", "failed_requests": None}
    old["operations"] = [{**reload, "values": [1.0, 1.1], "failed_requests": 0}, {**start, "values": [0.4, 0.5]}]
    new["operations"] = [{**reload, "values": [2.0, 2.2], "failed_requests": 3}, {**start, "values": [0.45, 0.55]}]
    assert section(compare(old, new), "Worse:") == [
        "hello, miniwsgi, system calls a request: 3.00 → 3.50",
        "reload, miniwsgi: failed requests 0 → 3",
        "reload, miniwsgi: +100.0% (1.05 → 2.1 s)",
    ]


def test_nothing_is_changed_by_comparing(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy((old, new))
    compare(old, new)
    assert (old, new) == before


def test_another_format_is_refused(old: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match="this reads format 1"):
        compare(old, {"format": None})
