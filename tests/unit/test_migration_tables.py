"""The tables of other servers' settings: none is missing, each says what becomes of it, and the pages are made of
them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS
from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.migration import hints
from miniwsgi.daemon.migration.gunicorn import hooks
from miniwsgi.daemon.migration.gunicorn.table import SETTINGS as GUNICORN
from miniwsgi.daemon.migration.setting import Fate, Setting, Takes
from miniwsgi.daemon.migration.unit.table import SETTINGS as UNIT
from miniwsgi.daemon.migration.uwsgi.table import NAMES as UWSGI_NAMES
from miniwsgi.daemon.migration.uwsgi.table import SETTINGS as UWSGI
from miniwsgi.daemon.worker.hooks import Hook

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"gunicorn": GUNICORN, "uwsgi": UWSGI, "unit": UNIT}
ROWS = [pytest.param(row, id=f"{server} {row.name}") for server, table in TABLES.items() for row in table.values()]
# For what nothing is there: HTTP/2, ASGI, task queues; TLS, the PROXY protocol, WebSockets.
MAY_BE_NOTHING = re.compile(r"HTTP/2|ASGI|WebSocket|[Dd]irty|TLS|PROXY protocol|[Ss]tatic files")
ACTIONS = {"store_true": Takes.ON, "append": Takes.MANY, "store_const": Takes.OFF}


def test_no_setting_of_the_installed_gunicorn_is_missing() -> None:
    assert {setting.name for setting in KNOWN_SETTINGS} - GUNICORN.keys() == set()


def test_flags_are_those_of_the_installed_gunicorn() -> None:
    """With what follows them; the command line is read by these."""
    theirs = {
        setting.name: (set(setting.cli or ()), ACTIONS.get(setting.action, Takes.VALUE)) for setting in KNOWN_SETTINGS
    }
    ours = {row.name: (set(row.flags), row.takes) for row in GUNICORN.values() if row.name in theirs}
    assert ours == theirs


def test_hooks_are_those_settings_that_are_functions() -> None:
    functions = {setting.name for setting in KNOWN_SETTINGS if callable(setting.default)}
    assert functions - {"ssl_context"} == {name for name in (*hooks.BY_NAME, *GUNICORN) if name in functions} - {
        "ssl_context"
    }
    assert set(hooks.BY_NAME) <= functions


def test_an_option_of_uwsgis_has_one_row_whatever_it_is_called() -> None:
    named = [name for row in UWSGI.values() for name in (row.name, *row.flags)]
    assert sorted(named) == sorted(UWSGI_NAMES)
    assert len(UWSGI) >= 120


@pytest.mark.parametrize("hook", hooks.HOOKS, ids=lambda hook: hook.name)
def test_a_hook_becomes_one_that_there_is(hook: hooks.Hook) -> None:
    heads = [f"{one.value}({', '.join(one.arguments)})" for one in Hook]
    assert hook.became == "" or hook.became in heads


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_becomes_of_a_setting(row: Setting) -> None:
    assert row.key == "" or row.key in KEYS
    assert row.group
    if row.fate is Fate.SAME:
        assert row.key in KEYS
        assert row.convert is not None
    else:
        assert row.says.endswith((".", "?")), row.says
    if row.fate is Fate.NOTHING:
        assert MAY_BE_NOTHING.search(row.says), row.says
    for word in re.findall(r"\b([a-z]+\.[a-z]+(?:_[a-z]+)*)\b", row.says):
        if word.partition(".")[0] in {key.partition(".")[0] for key in KEYS}:
            assert word in KEYS, word


def test_the_pages_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate_migrating.py"))["pages"]()
    assert pages
    assert [path.name for path, text in pages.items() if path.read_text("utf-8") != text] == [], (
        "python docs/generate_migrating.py"
    )


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--worker-class", "server.threads (--threads)"),
        ("-k", "server.threads (--threads)"),
        ("--timeout", "timeouts.request (--set timeouts.request=…)"),
        ("--graceful-timeout", "timeouts.graceful (--set timeouts.graceful=…)"),
        ("--error-logfile", "log.file (--set log.file=…)"),
        ("--statsd-host", "metrics.bind (--metrics-bind)"),
        ("--daemon", "here it is left out by intention"),
        ("--certfile", "server.bind (--bind)"),
        ("--dirty-app", "there is nothing like it here yet"),
        ("--errorlog", "log.file"),
        ("--raw-env", "app.env"),
        ("--preload", "app.preload"),
    ],
)
def test_a_flag_of_gunicorns_has_a_hint(flag: str, said: str) -> None:
    assert said in hints.for_flag(flag)
    assert "gunicorn's" in hints.for_flag(flag)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--harakiri", "timeouts.request"),
        ("--wsgi-file", "app.module"),
        ("--http", "server.bind"),
        ("--master", "built in"),
        ("-H", "app.python"),
    ],
)
def test_a_flag_of_uwsgis_has_a_hint(flag: str, said: str) -> None:
    assert said in hints.for_flag(flag)
    assert "uWSGI's" in hints.for_flag(flag)


def test_what_is_near_a_key_of_ours_wins_over_names_that_others_have_too() -> None:
    assert "uWSGI's" in hints.for_key("harakiri")
    assert hints.for_key("socket", near="did you mean control.socket?") == ""
    assert hints.for_key("user", near="did you mean server.user?") == ""
    assert "server.threads" in hints.for_key("worker_class", near="did you mean server.workers?")


@pytest.mark.parametrize("name", sorted(GUNICORN))
def test_each_setting_of_gunicorns_has_a_hint(name: str) -> None:
    assert "gunicorn's" in hints.for_key(name)


@pytest.mark.parametrize("flag", ["--host", "--port"])
def test_other_servers_flags_of_an_address_lead_to_ours(flag: str) -> None:
    assert "--bind" in hints.for_flag(flag)


def test_what_nobody_knows_has_no_hint() -> None:
    assert hints.for_flag("--nonsense") == hints.for_key("nonsense") == ""
