"""The expressions of the dashboards and rules in packaging/, and what can be read off them without a Prometheus."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "packaging" / "grafana"
PROMETHEUS = ROOT / "packaging" / "prometheus"
DASHBOARDS = ("service", "workers", "capacity")

WORDS = frozenset((
    "and", "or", "unless", "bool", "offset", "by", "on", "without", "ignoring",
    "group_left", "group_right", "inf", "nan",
))  # fmt: skip
COMPARISON = re.compile(r" (==|!=|>=|<=|>|<) (?!bool )")


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression and where it stands. `kind`: panel, annotation, record or alert."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def dashboard(name: str) -> dict[str, Any]:
    """A dashboard as it lies on disk."""
    found: dict[str, Any] = json.loads((GRAFANA / f"{name}.json").read_text("utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels, without the rows that part them."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def in_dashboards() -> list[Expression]:
    """Those of every query and annotation."""
    found = []
    for name in DASHBOARDS:
        for panel in panels(name):
            for query in panel["targets"]:
                where = f"{name} / {panel['title']} / {query['refId']}"
                found.append(Expression("panel", where, query["expr"]))
        for mark in dashboard(name)["annotations"]["list"]:
            found.append(Expression("annotation", f"{name} / {mark['name']}", mark["expr"]))
    return found


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file, "rules" or "alerts"."""
    groups = yaml.safe_load((PROMETHEUS / f"miniwsgi.{name}.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def in_rules() -> list[Expression]:
    """Those of every recording rule and alert."""
    found = [Expression("record", rule["record"], rule["expr"]) for rule in rules("rules")]
    return found + [Expression("alert", rule["alert"], rule["expr"]) for rule in rules("alerts")]


def metrics_in(text: str) -> set[str]:
    """The names of metrics in an expression."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\w)(?! *\()", bare)
    return {name for name in names if name not in WORDS}


def without_conditions(text: str) -> str:
    """The expression, with comparisons that say 0 or 1 where they would leave series out."""
    return COMPARISON.sub(r" \1 bool ", text)
