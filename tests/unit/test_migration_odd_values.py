"""Whatever stands in another server's configuration: nothing is raised, and what is written is a configuration of ours.

Of what our keys refuse, only what this machine lacks (users, directories, programs) may be left in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS
from miniwsgi.daemon.config import ConfigError, load
from miniwsgi.daemon.migration import commented_toml
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.draft import Draft
from miniwsgi.daemon.migration.gunicorn import together as gunicorn
from miniwsgi.daemon.migration.gunicorn.conf_file import Object
from miniwsgi.daemon.migration.gunicorn.table import SETTINGS as GUNICORN
from miniwsgi.daemon.migration.setting import Given, Place
from miniwsgi.daemon.migration.trouble import ImportTrouble
from miniwsgi.daemon.migration.unit import file as unit
from miniwsgi.daemon.migration.unit.table import SETTINGS as UNIT
from miniwsgi.daemon.migration.uwsgi import files as uwsgi
from miniwsgi.daemon.migration.uwsgi.table import NAMES as UWSGI

from tests.support.effort import effort

ASKED = Asked("/tmp", sys.executable, {})
OF_THIS_MACHINE = {
    "app.directory", "app.python", "server.user", "server.group", "server.socket_owner", "server.socket_group",
    "server.spool_directory", "control.group",
}  # fmt: skip
TEXTS = ["", "x", "0", "-1", "1e9", "99999999999", "a b", "true", "/", "../..", ":", "=", "*", "unix:", "a:b:c", "1,2",
         "%", "%(", "$", "\x00\x1b\n", "ü☃", '"', "'", "[::1]:1", "()", "a(b", "http://x:1/"]  # fmt: skip
VALUES = [
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    10**12,
    [],
    ["x"],
    [1, None, ["x"]],
    {},
    {"a": 1},
    Object("a.b", True),
]


def some(values: list[Any], name: str) -> list[Any]:
    """All of them in a long run; in a short one two, others for each name."""
    first = sum(name.encode()) % len(values)
    return effort([values[first], values[first * 7 % len(values)]], values)


def check(draft: Draft) -> None:
    draft.finish()
    text = commented_toml.written(draft, "1")
    try:
        load(None, {"app.module": "shop"}, {}, text, directory="/tmp")
    except ConfigError as error:
        left = [problem for problem in error.problems if problem.key not in OF_THIS_MACHINE]
        assert not left, f"{left}\n{text}"


@pytest.mark.parametrize("name", GUNICORN)
def test_a_setting_of_gunicorns(name: str) -> None:
    for value in some(VALUES, name):
        draft = Draft("gunicorn", "x", Place("/tmp"))
        gunicorn.fill(draft, {"wsgi_app": Given("wsgi_app", "shop"), name: Given(name, value, "line 1", "x()")})
        check(draft)


def test_gunicorns_defaults_are_values_of_ours() -> None:
    """All at once; what is no data in them is no value of a file."""
    plain = (str, int, float, bool, list, dict, type(None))
    found = {
        one.name: Given(one.name, one.default)
        for one in KNOWN_SETTINGS
        if one.name in GUNICORN and type(one.default) in plain
    }
    draft = Draft("gunicorn", "x", Place("/tmp"))
    gunicorn.fill(draft, found)
    check(draft)
    assert [key for key, line in draft.lines.items() if line.refused] == []


@pytest.mark.parametrize("name", sorted(UWSGI))
def test_an_option_of_uwsgis(name: str) -> None:
    if name in uwsgi.INCLUDES:
        return
    for value in some(TEXTS, name):
        draft = Draft("uWSGI", "x", Place("/tmp"))
        uwsgi.fill(
            draft, [uwsgi.Option(name, value, "line 1", {}), uwsgi.Option("callable", "app", "line 2", {})], ASKED
        )
        check(draft)


def replaced(whole: Any, path: tuple[str, ...], value: Any) -> Any:
    return {**whole, path[0]: replaced(whole.get(path[0]) or {}, path[1:], value)} if path else value


def configurations(name: str) -> Iterator[Any]:
    """One in which a setting has each of the odd values."""
    first, *rest = name.split(".")
    at = {"applications": ("applications", "shop"), "listeners": ("listeners", "*:80"), "routes": ("routes",)}
    base = {
        "listeners": {"*:80": {"pass": "applications/shop"}},
        "applications": {"shop": {"type": "python", "module": "shop"}},
    }
    for value in some(VALUES[:-1], name):
        if first == "routes" and rest:
            yield {**base, "routes": [replaced({}, tuple(rest), value)]}
        else:
            yield replaced(base, (*at.get(first, (first,)), *rest), value)


@pytest.mark.parametrize("name", UNIT)
def test_a_setting_of_units(name: str) -> None:
    for config in configurations(name):
        try:
            draft = unit.draft(json.dumps(config), "unit.json", ASKED)
        except ImportTrouble:
            continue  # it says why
        check(draft)
