"""Mistakes in a configuration: all are told, each with where it is and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from miniwsgi.daemon.config import (
    ConfigError,
    load,
)

from .config_files import NAMED, Write, mistakes


# --- mistakes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nworker = 4", "unknown key server.worker: did you mean server.workers?"),
        ("[server]\nWorkers = 4", "unknown key server.Workers: did you mean server.workers?"),
        ("[server]\naccess_log = '-'", "unknown key server.access_log: did you mean log.access_log?"),
        ("[limits]\nmax_body = 1", "unknown key limits.max_body: did you mean limits.body_max?"),
        ("[server]\nsocket-mode = '0660'", "unknown key server.socket-mode: did you mean server.socket_mode?"),
        ("[timeouts]\nmax_requests = 4", "unknown key timeouts.max_requests: did you mean recycle.max_requests?"),
        ("[control]\npath = '/run/x.sock'", "unknown key control.path: did you mean control.socket?"),
        ("[server]\nlisten = ':80'", "unknown key server.listen: did you mean server.bind?"),
        ("[server]\nsocket = '/run/x.sock'", "unknown key server.socket: did you mean server.bind?"),
        ("[metrics]\nport = 9000", "unknown key metrics.port: did you mean metrics.bind?"),
        ("[log]\npath = '/var/log/x'", "unknown key log.path: did you mean log.file?"),
        ("[app]\npath = '/srv'", "unknown key app.path"),
        ("[server]\nfoo = 4", "unknown key server.foo"),
        ("[timeouts]\nkeepalive = 1", "unknown key timeouts.keepalive: did you mean timeouts.keep_alive?"),
        ("[server]\nqqq = 4", "unknown key server.qqq"),
        ("[serer]\nworkers = 4", "unknown section [serer]: did you mean [server]?"),
        ("[gunicorn]\nworkers = 4", "unknown section [gunicorn]: the sections are app, server, limits,"),
        ("workers = 4", "unknown key workers: did you mean server.workers?"),
        ("bind = ':80'", "unknown key bind: did you mean server.bind or metrics.bind?"),
        ("server = 4", "server = 4: expected a section: [server]"),
        ("[[server]]\nworkers = 4", 'server = [{"workers": 4}]: expected a section: [server]'),
        ("[server]\nworkers = 'four'", 'server.workers = "four": expected a whole number from 1 to 200'),
        ("[server]\nworkers = 1979-05-27", 'server.workers = "1979-05-27": expected a whole number'),
        ("[server.workers]\nn = 4", 'server.workers = {"n": 4}: expected a whole number from 1 to 200'),
        ("[server]\npool = 'gevent'", 'server.pool = "gevent": expected "epoll" | "prefork" | "fork" | "single"'),
        ("[server]\numask = 18", "server.umask = 18: expected permission bits in octal"),
        ("[server]\nscript_name = '/shop/'", 'server.script_name = "/shop/": expected a prefix such as "/shop"'),
        ("[server]\nserver_header = 'a\\nb'", None),
        ('[server]\nserver_header = "a\\nb"', 'server.server_header = "a\\nb": expected a text without control'),
        ("[server]\nuser = 'no-such-user-here'", "expected the name or number of a user that exists"),
        ("[app]\nboot_check = 'health'", 'app.boot_check = "health": expected a path such as "/health" or "off"'),
        ("[app]\nboot_check = '/a b'", "app.boot_check"),
        ("[app]\nrevision = '\u202e1'", "app.revision"),
        (f"[app]\nrevision = '{'x' * 65}'", "expected 1 to 64 printable characters"),
        ("[app]\nenv = { TOKEN = 12345 }", "app.env: expected a text for TOKEN, in quotes"),
        ("[app]\nenv_files = '/nonexistent'", 'app.env_files = "/nonexistent": expected the path of a file'),
        ("[app]\nfactory = 'b'", 'app.factory = "b": expected either app.factory or app.module, not both'),
        ("[limits]\nfields_size = 1000", 'limits.fields_size = "1000": expected at least limits.field_size'),
        (
            "[server]\nthreads = 1\n[limits]\nin_flight = 5",
            'limits.in_flight = "5": expected off, or server.pool epoll with',
        ),
        ("[server]\npool = 'prefork'\n[limits]\nin_flight = 5", "while a request runs, nobody else could answer 503"),
        ("[server]\npool = 'fork'\n[limits]\nin_flight = 5", 'limits.in_flight = "5": expected off'),
        ("[control]\nsocket = 'off'\nrequired = true", "control.required = true: expected a path in control.socket"),
        (
            "[server]\nbind = ':9464'\n[metrics]\nbind = ':9464'",
            'metrics.bind = ":9464": expected an address of its own: server.bind has this one',
        ),
        ("[log]\naccess_log_format = '%(nope)s'", "log.access_log_format"),
        ("[log]\nlevel = '" + "x" * 200 + "'", "…: expected"),
    ],
)
def test_a_mistake_in_the_file_is_told(write_config: Write, text: str, expected: str | None) -> None:
    module = "" if "[app]" in text else "[app]\nmodule = 'shop'\n"
    path = write_config(f"{text}\n{module}".replace("[app]\n", "[app]\nmodule = 'a'\n" if not module else "[app]\n"))
    if expected is None:
        load(path, {}, {})
        return
    found = mistakes(path)
    assert len(found) == 1
    assert expected in found[0]
    assert ("did you mean" in found[0]) is ("did you mean" in expected)


def test_all_mistakes_are_told_at_once_with_their_sources(write_config: Write, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\nnonsense\n")
    path = write_config(
        "[app]\ndirectory = 'gone'\nenv_files = ['env', 'other']\n"
        "[server]\nworkers = 0\nbind = ['x', ':80', 9]\nuser = 'no-such-user-here'\nworker = 1\n[nope]\na = 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {"server.workers": "many", "log.levl": "info"}, {"MINIWSGI_TIMEOUTS_BOOT": "soon"})
    told = [(problem.key, problem.source) for problem in caught.value.problems]
    assert sorted(told) == sorted(
        [
            ("app.directory", path),
            ("app.env_files", path),
            ("app.module", "nothing names the application"),
            ("log.levl", "command line"),
            ("nope", path),
            ("server.bind", path),
            ("server.bind", path),
            ("server.user", path),
            ("server.worker", path),
            ("server.workers", "--workers"),
            ("server.workers", path),
            ("timeouts.boot", "MINIWSGI_TIMEOUTS_BOOT"),
        ]
    )


def test_mistakes_in_values_that_are_overridden_are_told_too(write_config: Write) -> None:
    path = write_config("[server]\nworkers = 'four'\n")
    assert mistakes(path, {**NAMED, "server.workers": "4"}) == [
        'server.workers = "four": expected a whole number from 1 to 200'
    ]


@pytest.mark.parametrize("flags", [{}, {"app.module": ""}])
def test_nothing_names_the_application(flags: dict[str, object]) -> None:
    assert mistakes(None, flags) == [
        'app.module: expected the application, as "package.module:app" or "./file.py:app" '
        "(nothing names the application)"
    ]


def test_problems_are_data(write_config: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write_config("[server]\nworkers = 'four'"), NAMED, {})
    problem = caught.value.problems[0]
    assert (problem.key, problem.value) == ("server.workers", "four")
    assert problem.expected == "a whole number from 1 to 200"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[server]\nworkers 4\n", "2:9", "not valid TOML: Expected '=' after a key"),
        ("[server\n", "1:8", "not valid TOML: "),
        ("[server]\nworkers =", "2:10", "not valid TOML: Invalid value"),
        ("[server]\nworkers = 04", "2:12", "not valid TOML"),
        ("[server]\nworkers = 1\nworkers = 2\n", "3:", "Cannot overwrite a value"),
        ("[server]\n[server]\n", "2:", "Cannot declare ('server',) twice"),
        ("a = '", "1:6", "not valid TOML"),
        (b"[server]\n# caf\xe9\n", "2:6", "not UTF-8: byte 0xe9"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_column(
    write_config: Write, text: str | bytes, where: str, what: str
) -> None:
    path = write_config(text)
    found = mistakes(path)
    assert len(found) == 1  # not also that nothing names the application
    assert found[0].startswith(f"{path}:{where}")
    assert what in found[0]


def test_a_syntax_error_does_not_hide_the_flags_mistakes(write_config: Write) -> None:
    assert len(mistakes(write_config("nonsense"), {"server.workers": "x"})) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gunicorn.conf.py", "import os\n"),
        ("uwsgi.ini", "[uwsgi]\nmodule = shop\n"),
        ("unit.json", "{}"),
        ("Procfile", "web: gunicorn shop"),
        ("shop.conf", "[uwsgi]\nmodule = shop\n"),
    ],
)
def test_another_servers_configuration_leads_to_the_import(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert f"`miniwsgi import {path}` makes a miniwsgi.toml of it" in mistakes(path)[0]


def test_deep_nesting_is_an_error_like_others(write_config: Write) -> None:
    assert "not valid TOML" in mistakes(write_config("a = " + "[" * 50_000 + "]" * 50_000))[0]


def test_a_file_that_is_not_there_and_its_like(tmp_path: Path) -> None:
    assert mistakes(f"{tmp_path}/x.toml") == [f"{tmp_path}/x.toml: there is no such file"]
    assert mistakes(str(tmp_path)) == [f"{tmp_path}: it is a directory; give the path of a file"]
    (tmp_path / "file").touch()
    assert mistakes(f"{tmp_path}/file/x") == [f"{tmp_path}/file/x: it cannot be read: Not a directory"]
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in mistakes(f"{tmp_path}/loop")[0]
    (tmp_path / "big").write_bytes(b"#" * ((1 << 20) + 1))
    assert mistakes(f"{tmp_path}/big") == [f"{tmp_path}/big: it is larger than 1024 KiB: not a configuration file"]
    assert mistakes("nul\0")[0].endswith("it cannot be read: embedded null byte")


def test_a_file_that_may_not_be_read(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config("")
    if os.geteuid() == 0:

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    else:
        os.chmod(path, 0)
    assert mistakes(path) == [f"{path}: permission denied"]
