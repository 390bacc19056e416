"""Whatever a configuration sets stands in what is made of it: as a key, or as a remark, with its own name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.migration import commented_toml, sources
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.draft import Draft
from miniwsgi.daemon.migration.gunicorn import together
from miniwsgi.daemon.migration.gunicorn.hooks import BY_NAME
from miniwsgi.daemon.migration.gunicorn.table import SETTINGS
from miniwsgi.daemon.migration.setting import Given, Place

UNSET = (None, False, True, "", 0, "x", "1")


def made(**given: Any) -> tuple[Draft, str]:
    """The draft of gunicorn's settings, and the text of it without line breaks."""
    draft = Draft("gunicorn", "gunicorn.conf.py", Place("/srv"))
    together.fill(draft, {name: Given(name, value, "line 1") for name, value in given.items()})
    draft.finish()
    return draft, flat(draft)


def flat(draft: Draft) -> str:
    return " ".join(commented_toml.written(draft, "1").replace("\n#", " ").split())


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"pythonpath"}))
def test_no_setting_of_gunicorns_vanishes(name: str) -> None:
    for value in UNSET:
        draft, text = made(**{name: value})
        line = next((path for path in draft.lines if path.rpartition(".")[2] == name), "")
        said = name in text or line or (value is None and name in BY_NAME)
        assert said, (name, value, text)


def test_none_is_not_set_and_never_the_word() -> None:
    settings = ("user", "group", "pidfile", "tmp_upload_dir", "proc_name", "sendfile", "statsd_host")
    draft, text = made(**dict.fromkeys(settings))
    assert not draft.warnings[1:], draft.warnings
    assert "user = None, group = None, pidfile = None" in text
    assert '"None"' not in text


def test_what_is_as_the_default_is_told() -> None:
    default = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
    draft, text = made(worker_class="gthread", threads=4, secure_scheme_headers=default, daemon=False, sendfile=False)
    assert draft.lines["server.threads"].value == 4
    assert "worker_class: gthread: server.threads says it all" in text
    assert "secure_scheme_headers: X-Forwarded-Proto is proxy.scheme_field's default" in text
    assert "daemon = False" in text
    assert "sendfile: Files go by sendfile(2)." in text


def test_what_a_class_ignores_is_told() -> None:
    draft, text = made(worker_class="gevent", threads=4)
    assert draft.lines["server.threads"].value == 32
    assert "threads: 4: gevent did not use it" in text


def test_no_preload_is_not_auto() -> None:
    draft, text = made(preload_app=False)
    assert draft.lines["app.preload"].value == "false"
    assert "preload: the application is imported once" not in text


def test_one_worker_by_default_is_a_difference() -> None:
    assert "gunicorn's default was 1" in made()[1]
    assert "gunicorn's default was 1" not in made(workers=2)[1]


def test_no_grace_is_none() -> None:
    assert made(graceful_timeout=0)[0].lines["timeouts.graceful"].value == 0


def test_no_time_limit_is_told_as_none() -> None:
    assert "the client gets 504" not in made(timeout=0)[1]
    assert "the client gets 504" in made(timeout=3)[1]


def test_a_function_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("def workers():\n    return 4\n")
    text = flat(sources.import_file(str(path), Asked(str(tmp_path), "", {})))
    assert "workers: not taken over: the function or class workers is no whole number" in text


# --- uWSGI --------------------------------------------------------------------------------------------
def ini(directory: Path, *lines: str) -> tuple[Draft, str]:
    path = directory / "app.ini"
    path.write_text("\n".join(["[uwsgi]", "module = shop", *lines, ""]))
    draft = sources.import_file(str(path), Asked(str(directory), sys.executable, {}))
    draft.finish()
    return draft, flat(draft)


def test_of_two_names_of_one_thing_both_are_told(tmp_path: Path) -> None:
    draft, text = ini(tmp_path, "reload-mercy = 5", "worker-reload-mercy = 9", "http = :1", "socket = 127.0.0.1:2")
    assert draft.lines["timeouts.graceful"].value == 9
    assert "reload-mercy: 5: worker-reload-mercy holds" in text
    assert "# http, socket" in text


def test_a_loop_over_what_is_not_known_leaves_its_options_out(tmp_path: Path) -> None:
    draft, _ = ini(tmp_path, "for-readline = /etc/hosts", "env = X=%(_)", "endfor =", "env = Y=1")
    assert draft.env.keys() == {"Y"}
    assert any("for-readline = /etc/hosts" in warning for warning in draft.warnings)


def test_no_harakiri_is_no_limit(tmp_path: Path) -> None:
    assert "none here as there" in ini(tmp_path, "harakiri = 0")[1]
