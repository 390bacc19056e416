"""The dashboards on disk are what generate.py makes, complete, and about metrics that there are."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from miniwsgi.metrics.declared import DECLARED

from tests.support.promql import DASHBOARDS, GRAFANA, ROOT, dashboard, in_dashboards, metrics_in, panels

KINDS = {declared.name: declared.kind for declared in DECLARED}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title']}".replace(" ", "-"))
    for name in DASHBOARDS
    for panel in panels(name)
]


def series_of(name: str) -> Iterator[str]:
    """The names under which a family's series are found."""
    if KINDS[name] == "histogram":
        yield from (f"{name}{suffix}" for suffix in ("_bucket", "_sum", "_count"))
    else:
        yield name


EXPOSED = frozenset(itertools.chain.from_iterable(series_of(name) for name in KINDS))


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("grafana_foundation_sdk", reason="pip install grafana-foundation-sdk: see the extra `test`")
    script = str(GRAFANA / "generate.py")
    return subprocess.run([sys.executable, "-B", script, *arguments], capture_output=True, text=True, timeout=60)


def test_the_files_are_what_the_script_makes() -> None:
    done = generate("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_dashboard_is_there_and_no_other() -> None:
    assert sorted(path.stem for path in GRAFANA.glob("*.json")) == sorted(DASHBOARDS)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith((".", '"].'))
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"]
    assert [query["refId"] for query in panel["targets"]] == [chr(65 + at) for at in range(len(panel["targets"]))]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_stand_side_by_side(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(name)["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_known_by_stable_names_and_lead_to_each_other(name: str) -> None:
    found = dashboard(name)
    assert found["uid"] == f"miniwsgi-{name}"
    assert found["tags"] == ["miniwsgi"]
    (link,) = found["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["miniwsgi"],
        True,
        True,
    )
    numbers = [panel["id"] for panel in found["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables(name: str) -> None:
    source, job, instance = dashboard(name)["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [(v["name"], v["multi"], v["includeAll"]) for v in (job, instance)] == [
        ("job", True, True),
        ("instance", True, True),
    ]


@pytest.mark.parametrize("expression", in_dashboards(), ids=lambda expression: expression.where.replace(" ", "-"))
def test_expressions_ask_for_metrics_that_there_are_and_heed_the_variables(expression: Any) -> None:
    names = metrics_in(expression.text)
    assert names
    assert names - EXPOSED == set()
    selectors = re.findall(r"(\w+)(?:\{([^}]*)\})?", re.sub(r"(?<=[\w\"])\s*\[[^]]*\]", "", expression.text))
    for name, matchers in selectors:
        if name in names:
            assert 'job=~"$job", instance=~"$instance"' in matchers, name


def test_every_family_is_on_a_dashboard() -> None:
    shown = set().union(*(metrics_in(expression.text) for expression in in_dashboards()))
    assert {name for name in KINDS if not shown & set(series_of(name))} == set()


def test_what_is_provisioned() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/miniwsgi.yml").read_text("utf-8"))["datasources"]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", "15s")
    scrape = yaml.safe_load((ROOT / "packaging/prometheus/prometheus.yml").read_text("utf-8"))["global"]
    assert scrape["scrape_interval"] == source["jsonData"]["timeInterval"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/miniwsgi.yml").read_text("utf-8"))["providers"]
    assert (provider["type"], provider["folder"]) == ("file", "miniwsgi")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sum(a_total)", {"a_total"}),
        ('sum by (x, le) (rate(a_total{b="c d(e", f=~"$g"}[5m])) or 0 * m:n:rate5m', {"a_total", "m:n:rate5m"}),
        ("a / on (job, instance) group_left (v) (b > bool 1e3) and c offset 5m", {"a", "b", "c"}),
        ("clamp_min(predict_linear((a)[1h:15s], 4 * 3600), 0)", {"a"}),
        ('label_replace(a, "class", "${1}xx", "b", "(.).*")', {"a"}),
    ],
)
def test_names_of_metrics_are_found(text: str, names: set[str]) -> None:
    assert metrics_in(text) == names
