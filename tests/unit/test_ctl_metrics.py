"""`miniwsgictl metrics`, and what the control API answers it: families by name, near misses, tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control.metric_families import as_message, find, metric_name
from miniwsgi.manager.http.exchange import HttpRefusal
from miniwsgi.metrics.families import Family, Histogram, Sample

from tests.support.ctl_daemon import FakeDaemon, problem
from tests.support.manager_world import FAMILIES

# --- found by name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", [family.name for family in FAMILIES]),
        ("miniwsgi_workers", ["miniwsgi_workers"]),
        ("miniwsgi_worker", ["miniwsgi_workers", "miniwsgi_workers_target", "miniwsgi_worker_requests_total"]),
        ("miniwsgi_worker_", ["miniwsgi_worker_requests_total"]),
        ("miniwsgi_queue_seconds", ["miniwsgi_queue_seconds"]),
        ("miniwsgi_queue_seconds_bucket", ["miniwsgi_queue_seconds"]),
        ("miniwsgi_queue_seconds_count", ["miniwsgi_queue_seconds"]),
        ("m", [family.name for family in FAMILIES]),
    ],
)
def test_a_name_is_one_family_and_a_beginning_is_several(name: str, found: list[str]) -> None:
    assert [family.name for family in find(FAMILIES, name)] == found


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("miniwsgi_worker_requests", None),
        ("miniwsgi_worker_request_total", "did you mean miniwsgi_worker_requests_total"),
        ("queue", "did you mean miniwsgi_queue_seconds?"),
        ("http", ""),
    ],
)
def test_an_unknown_name_is_told_with_what_comes_near(name: str, near: str | None) -> None:
    if near is None:
        assert find(FAMILIES, name)
        return
    with pytest.raises(HttpRefusal) as refused:
        find(FAMILIES, name)
    assert refused.value.status == 404
    assert refused.value.detail.startswith(f"there is no metric {name}")
    assert near in refused.value.detail
    assert bool(near) == ("did you mean" in refused.value.detail)


@pytest.mark.parametrize("text", ["", "a b", "1st", "a{b}", "a\n", "é", "x" * 201])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        metric_name(text)


def test_a_histogram_is_told_as_it_is_kept() -> None:
    family = Family(
        "h_seconds", "histogram", "H.", "seconds", [Sample((("a", "b"),), Histogram((0.1, 1.0), (3, 1, 2), 9.5))]
    )
    told = as_message(family)
    known = ms.Percentiles("≤ 100 ms", "> 1 s", "> 1 s")
    assert told.samples == [ms.MetricSample({"a": "b"}, ms.MetricHistogram([0.1, 1.0], [3, 1, 2], 9.5, known))]
    assert as_message(Family("g", "gauge", "G.", "", [Sample((), True)])).samples[0].value == 1.0


# --- shown ---------------------------------------------------------------------------------------------------------


def answer(*families: Family) -> ms.MetricList:
    return ms.MetricList([as_message(family) for family in families or FAMILIES])


def test_without_a_name_each_family_is_a_line(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer()}) as daemon:
        found = daemon.run("metrics")
        assert [asked.target for asked in daemon.asked] == ["/v1/metrics"]
    assert (found.status, found.err) == (0, "")
    assert found.out.splitlines() == [
        "NAME                            KIND       SERIES  VALUE  MEANING",
        "miniwsgi_workers                gauge           1         Workers.",
        "miniwsgi_workers_target         gauge           1      2  Workers that there should be.",
        "miniwsgi_worker_requests_total  counter         1         Requests.",
        "miniwsgi_queue_seconds          histogram       1         Waits.",
    ]


def test_with_a_name_each_series_is_a_line(tmp_path: Path) -> None:
    samples = [Sample((("slot", "0"), ("a", "x")), 5.0), Sample((("slot", "10"),), 1e6)]
    requests = Family("requests_total", "counter", "R.", "", samples)
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer(requests)}) as daemon:
        found = daemon.run("metrics", "requests_total")
        assert [asked.target for asked in daemon.asked] == ["/v1/metrics?name=requests_total"]
    assert found.out.splitlines() == [
        "requests_total (counter)",
        "R.",
        "SLOT  A    VALUE",
        "0     x        5",
        "10    -  1000000",
    ]


def test_a_histogram_has_percentiles_and_a_family_may_be_empty(tmp_path: Path) -> None:
    waits = Family("waits_seconds", "histogram", "W.", "seconds", [Sample((), Histogram((0.1, 1.0), (90, 10, 0), 9.0))])
    empty = Family("none", "gauge", "N.", "", [])
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer(waits, empty)}) as daemon:
        found = daemon.run("metrics", "w")
    assert found.out.splitlines() == [
        "waits_seconds (histogram, seconds)",
        "W.",
        "COUNT     MEAN       P50    P95    P99",
        "  100  90.0 ms  ≤ 100 ms  ≤ 1 s  ≤ 1 s",
        "",
        "none (gauge)",
        "N.",
        "no series",
    ]


@pytest.mark.parametrize(
    ("name", "unit", "value", "table", "wide"),
    [
        ("a_seconds", "seconds", 0.25, "250 ms", "0.25"),
        ("a_seconds", "seconds", 0.0, "0 s", "0"),
        ("a_bytes", "bytes", 36e6, "34.3 MiB", "36000000"),
        ("a_ratio", "", 0.123456, "0.1235", "0.123456"),
        ("a_total", "", 12345678.0, "12345678", "12345678"),
    ],
)
def test_values_have_their_unit_or_are_exact(
    tmp_path: Path, name: str, unit: str, value: float, table: str, wide: str
) -> None:
    family = Family(name, "gauge", "", unit, [Sample((), value)])
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer(family)}) as daemon:
        assert daemon.run("metrics", name).out.splitlines()[-1].strip() == table
        assert daemon.run("metrics", name, "-o", "wide").out.splitlines()[-1].strip() == wide


def test_a_moment_is_a_date(tmp_path: Path) -> None:
    family = Family("a_timestamp_seconds", "gauge", "", "seconds", [Sample((), 1795176683.457)])
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer(family)}) as daemon:
        assert daemon.run("metrics", "a").out.splitlines()[-1].startswith("2026-11-2")


def test_json_is_what_the_daemon_says(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer()}) as daemon:
        found = daemon.run("metrics", "-o", "json").json
    assert found["families"][3]["samples"] == [
        {
            "labels": {},
            "value": {
                "bounds": [0.1, 1],
                "counts": [3, 1, 0],
                "sum": 0.5,
                "percentiles": {"p50": "≤ 100 ms", "p95": "≤ 1 s", "p99": "≤ 1 s"},
            },
        }
    ]


def test_an_unknown_name_is_wrong_usage(tmp_path: Path) -> None:
    said = problem(404, "there is no metric x; did you mean y?")
    with FakeDaemon(tmp_path / "s", {"GET /metrics": said}) as daemon:
        found = daemon.run("metrics", "x")
    assert (found.status, found.out) == (2, "")
    assert found.err == "miniwsgictl: there is no metric x; did you mean y?\n"


def test_names_are_completed_from_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete
    from miniwsgi.manager.client.cli import commands

    with FakeDaemon(tmp_path / "s", {"GET /metrics": answer()}) as daemon:
        monkeypatch.setenv("MINIWSGI_CONTROL", str(daemon.path))
        complete = ShellComplete(commands, {}, "miniwsgictl", "_X")
        found = [item.value for item in complete.get_completions(["metrics"], "miniwsgi_workers")]
    assert found == ["miniwsgi_workers", "miniwsgi_workers_target"]
