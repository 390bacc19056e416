"""The rules and alerts: promtool accepts them, its unit tests pass, and every alert is explained."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from miniwsgi.metrics.declared import DECLARED

from tests.support.programs import program
from tests.support.promql import PROMETHEUS, ROOT, in_rules, metrics_in, rules, without_conditions

ALERTS = rules("alerts")
RECORDED = {rule["record"] for rule in rules("rules")}
TESTS = yaml.safe_load((PROMETHEUS / "tests" / "miniwsgi.alerts.test.yml").read_text("utf-8"))["tests"]
EXPOSED = {"up"}
for declared in DECLARED:
    suffixes = ("_bucket", "_sum", "_count") if declared.kind == "histogram" else ("",)
    EXPOSED.update(declared.name + suffix for suffix in suffixes)


def promtool(*arguments: str) -> str:
    """What it says. Fails with it."""
    command = [program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_configuration() -> None:
    assert "2 rule files found" in promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("name", ["rules", "alerts"])
def test_promtool_accepts_the_rules(name: str) -> None:
    said = promtool("check", "rules", f"miniwsgi.{name}.yml")
    assert f"{len(rules(name))} rules found" in said


@pytest.mark.parametrize("name", ["rules", "alerts"])
def test_the_rules_do_what_their_tests_say(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", f"tests/miniwsgi.{name}.test.yml")


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_every_alert_is_tested_both_ways(alert: str) -> None:
    cases = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


@pytest.mark.parametrize("recorded", sorted(RECORDED))
def test_every_recording_rule_is_tested(recorded: str) -> None:
    text = "".join(path.read_text("utf-8") for path in (PROMETHEUS / "tests").glob("*.yml"))
    text += "".join(expression.text for expression in in_rules())  # what other rules use is tested through them
    assert re.search(rf"{re.escape(recorded)}(?![\w:])", text)


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert page == "file:///usr/share/doc/miniwsgi/alerts.md", "as the Debian package has it"
    assert anchor == rule["alert"].lower()
    sections = (ROOT / "docs" / "alerts.md").read_text("utf-8").split("\n## ")[1:]
    (section,) = [section for section in sections if section.startswith(f"{rule['alert']}\n")]
    for paragraph in ("**Meaning.**", "**Likely causes.**", "**What to do.**"):
        assert paragraph in section, paragraph
    assert "miniwsgictl " in section


def test_every_explanation_is_of_an_alert() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


@pytest.mark.parametrize("expression", in_rules(), ids=lambda expression: expression.where)
def test_rules_ask_for_metrics_that_there_are(expression: Any) -> None:
    names = metrics_in(expression.text)
    assert names
    assert names - EXPOSED - RECORDED == set()


def test_an_alert_without_its_conditions_can_be_asked_for() -> None:
    asked = without_conditions('up{job=~"a"} == 0 and on (job) x > 14.4 * 0.001')
    assert asked == 'up{job=~"a"} == bool 0 and on (job) x > bool 14.4 * 0.001'
    for rule in ALERTS:
        assert len(re.findall(" bool ", without_conditions(rule["expr"]))) >= 1
        assert " unless " not in rule["expr"]  # it would leave nothing to ask for
