"""The tables of [[static]]: what they may say, how they are shown, what reaches a worker."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.config import ConfigError, load
from miniwsgi.daemon.config.configuration import Config, differences, reload_problems
from miniwsgi.daemon.config.effective import as_data, as_toml
from miniwsgi.daemon.config.launching import worker_settings
from miniwsgi.daemon.settings import Settings, StaticFiles

APP = '[app]\nmodule = "shop:app"\n'


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "more").mkdir()


def loaded(text: str = "", flags: dict[str, object] | None = None, environ: dict[str, str] | None = None) -> Config:
    return load("miniwsgi.toml", flags or {}, environ or {}, APP + text)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(text)
    return [f"{problem.key}: {problem.mistake.value}, {problem.expected}" for problem in error.value.problems]


def _toml(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("{") else json.dumps(value)


def entry(**options: Any) -> str:
    given = {"path": "/static/", "directory": "files", **options}
    lines = [f"{name} = {_toml(value)}" for name, value in given.items() if value is not None]
    return "\n".join(["[[static]]", *lines, ""])


def test_a_table_for_each_prefix(tmp_path: Path) -> None:
    text = entry(cache="no-cache") + entry(path="/", directory="more", fallthrough=True, index="index.html")
    first, second = loaded(text).static
    assert (first.path, first.directory, first.cache) == ("/static/", str(tmp_path / "files"), (("*", "no-cache"),))
    assert (second.path, second.directory) == ("/", str(tmp_path / "more"))
    assert (second.fallthrough, second.index, second.cache) == (True, "index.html", ())
    assert loaded().static == ()


def test_path_and_directory_in_one_text(tmp_path: Path) -> None:
    flag, variable = {"static": ("/s=files", "/=more")}, {"MINIWSGI_STATIC": "/s/=files,/=more"}
    expected = [("/s/", str(tmp_path / "files")), ("/", str(tmp_path / "more"))]
    for config in (loaded(flags=flag), loaded(environ=variable), loaded(entry(path="/x/"), flag)):
        assert [(one.path, one.directory) for one in config.static] == expected
    assert loaded(flags=flag).origins["static"] == "flag"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (entry(directory="nope"), "static[0].directory: value, the path of a directory"),
        (entry() + entry(path="/x/", directory=3), "static[1].directory: value, the path of a directory"),
        (entry(path=None), 'static[0].path: value, a prefix of URL paths such as "/static/"'),
        (entry(directory=None), "static[0].directory: value, the path of a directory"),
        (entry(fallthroug=True), "static[0].fallthroug: unknown key, did you mean fallthrough?"),
        (entry(zzz=True), "static[0].zzz: unknown key, it has path, directory"),
        (entry(index="a/b"), "static[0].index: value, a file's name"),
        (entry(index=".htaccess"), "static[0].index: value, a file's name"),
        (entry(symlinks="yes"), "static[0].symlinks: value, true or false"),
        (entry(cache="a\nb"), "static[0].cache.*: value, a field's value"),
        (entry(cache='{ "" = "x" }'), "static[0].cache"),
        (entry(cache='{ "*.css" = 3 }'), "static[0].cache.*.css: value, a field's value"),
        (entry(types='{ css = "text" }'), "static[0].types.css: value, a media type"),
        (entry(headers='{ "X Y" = "1" }'), "static[0].headers.X Y: value, the name a field's name"),
        (
            entry(headers='{ Date = "1" }'),
            "static[0].headers.Date: value, the name of a field that the server does not",
        ),
        (
            entry(headers='{ Cache-Control = "1" }'),
            "static[0].headers.Cache-Control: value, the name of another field: `c",
        ),
        (entry(internal=True, fallthrough=True), "static[0].fallthrough: value, false: no request of a client"),
        (entry() + entry(path="/static"), "static: value, each item once"),
        ('static = "files"', "static: value, a table with path and directory"),
        ("static = 3", "static: value, a table with path and directory"),
        ("[[statics]]", "statics: unknown key"),
        ("[statics]\na = 1", "statics: unknown section, did you mean [[static]]?"),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    if text.startswith("static ="):
        text = text + "\n"
        with pytest.raises(ConfigError) as error:
            load("miniwsgi.toml", {}, {}, text + APP)
        found = [f"{problem.key}: {problem.mistake.value}, {problem.expected}" for problem in error.value.problems]
    else:
        found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    "path", ["", "static/", "/a//b", "//", "/../x", "/a/./b", "/a/..", "/a?b", "/a#", "/%41", "/ü", "/a b", 3]
)
def test_paths_that_are_no_prefix(path: object) -> None:
    assert problems(entry(path=path))[0].startswith("static[0].path: value, a prefix of URL paths")


@pytest.mark.parametrize(("path", "taken"), [("/", "/"), ("/a", "/a/"), ("/a/", "/a/"), ("/a/b.c/..d", "/a/b.c/..d/")])
def test_prefixes(path: str, taken: str) -> None:
    assert loaded(entry(path=path)).static[0].path == taken


def test_what_is_shown_is_what_is_taken(tmp_path: Path) -> None:
    options = {"cache": '{ "*.css" = "no-cache", "*" = "max-age=1" }', "headers": '{ "X-A" = "b" }', "symlinks": True}
    config = loaded(entry(**options) + entry(path="/x/", precompressed=False, types='{ ".foo" = "text/foo" }'))
    shown = as_toml(config)
    assert load("x", {}, {}, shown).static == config.static
    assert tomllib.loads(shown)["static"][1]["types"] == {".foo": "text/foo"}
    data = json.loads(json.dumps(as_data(config)))
    assert data["values"]["static"][0]["cache"] == {"*.css": "no-cache", "*": "max-age=1"}
    assert data["origins"]["static"] == "file"


def test_workers_are_told_and_a_reload_takes_changes() -> None:
    old = loaded(entry())
    new = loaded(entry(cache="no-cache", index="i", internal=True))
    assert differences(old, new) == ["static"]
    assert reload_problems(old, new) == []
    settings = worker_settings(new, generation=1, listeners=(), scoreboard_fd=3)
    assert settings.static[0]._replace(directory="") == StaticFiles(
        "/static/", "", cache=(("*", "no-cache"),), index_name="i", internal=True
    )
    assert Settings.from_message(json.loads(json.dumps(settings.to_message()))) == settings
