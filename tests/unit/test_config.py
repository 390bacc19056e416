"""File, environment and flags become one configuration, or every mistake in them is told."""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from pathlib import Path

import pytest
from miniwsgi.daemon.config import (
    Config,
    ConfigError,
    differences,
    load,
    reload_problems,
    worker_settings,
)
from miniwsgi.daemon.config.effective import as_data, as_toml
from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.config.machine import available_cpus
from miniwsgi.daemon.config.reference import reference
from miniwsgi.daemon.config.serving_keys import MAX_SURGE, MAX_WORKERS
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.manager import messages
from miniwsgi.metrics.scoreboard import MAX_SLOTS, MAX_THREADS

from .config_files import NAMED, Write


def addresses(config: Config) -> list[str]:
    return [bind.address for bind in config.server.bind]


ROOT = Path(__file__).resolve().parents[2]


# --- merging -----------------------------------------------------------------------------------------
def test_without_anything_the_defaults_hold() -> None:
    config = load(None, NAMED, {}, directory="/")
    assert addresses(config) == ["127.0.0.1:8000"]
    assert config.server.workers == available_cpus()
    assert (config.server.pool, config.server.threads, config.app.preload) == ("epoll", 8, "auto")
    assert (config.app.directory, config.app.python) == ("/", sys.executable)
    assert config.metrics.bind.address == "127.0.0.1:9464"
    assert config.log.access_log == ""
    assert set(config.origins) == set(KEYS)
    assert {path for path in KEYS if config.origins[path] != "default"} == {"app.module"}


def test_the_defaults_are_those_of_the_settings() -> None:
    """What is not configured means the same to a worker that was told and to one that was not."""
    settings = worker_settings(load(None, NAMED, {}), generation=1, listeners=(), scoreboard_fd=3)
    bare = Settings(generation=1, listeners=(), scoreboard_fd=3, module="shop:app", directory=settings.directory)
    assert settings._replace(routes=bare.routes) == bare
    assert (settings.routes, bare.routes) == (("auto",), ())  # auto depends on what else a process has imported


def test_flag_wins_over_environment_over_file_over_default(write_config: Write) -> None:
    path = write_config('[app]\nmodule = "shop"\n[server]\nworkers = 1\nthreads = 1\nbacklog = 1\n')
    environ = {"MINIWSGI_SERVER_WORKERS": "2", "MINIWSGI_SERVER_THREADS": "2"}
    config = load(path, {"server.workers": "3"}, environ)
    assert (config.server.workers, config.server.threads, config.server.backlog) == (3, 2, 1)
    origins = [config.origins[f"server.{name}"] for name in ("workers", "threads", "backlog", "surge")]
    assert origins == ["flag", "environment", "file", "default"]


@pytest.mark.parametrize(("value", "engine"), [("auto", "auto"), ("Plain", "plain"), ("compiled", "compiled")])
def test_the_engine_reaches_the_workers(value: str, engine: str) -> None:
    config = load(None, {**NAMED, "server.engine": value}, {})
    assert worker_settings(config, generation=1, listeners=(), scoreboard_fd=3).engine == engine


def test_an_unknown_engine_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {**NAMED, "server.engine": "turbo"}, {})
    assert 'server.engine = "turbo": expected "auto" | "compiled" | "plain" (--engine)' in str(caught.value)


def test_flags_are_texts_and_lists() -> None:
    flags = {"server.bind": (":1", ":2"), "timeouts.request": "5m", "server.reload_on_change": True}
    config = load(None, {**NAMED, **flags}, {})
    assert addresses(config) == [":1", ":2"]
    assert config.timeouts.request == 300
    assert config.server.reload_on_change is True


def test_environment_variables_are_texts_and_lists() -> None:
    config = load(
        None,
        {},
        {
            "MINIWSGI_APP_MODULE": "shop",
            "MINIWSGI_SERVER_BIND": ":1,unix:/x",
            "MINIWSGI_CONTROL_REQUIRED": "yes",
            "MINIWSGI_METRICS_BIND": "off",
            "MINIWSGI_LIMITS_BODY_MAX": "1 GiB",
        },
        directory="/",
    )
    assert addresses(config) == [":1", "unix:/x"]
    assert config.control.required is True
    assert config.metrics.bind.address == ""
    assert config.limits.body_max == 1 << 30


def test_a_mistyped_environment_variable_is_noted_but_not_those_of_kubernetes() -> None:
    environ = {
        "MINIWSGI_CONTROL_PATH": "/run/x.sock",
        "MINIWSGI_SERVER_WORKRS": "3",
        "MINIWSGI_SERVER_PORT": "tcp://10.0.0.1:80",  # a Kubernetes service called miniwsgi-server
        "MINIWSGI_SERVER_SERVICE_HOST": "10.0.0.1",
        "MINIWSGI_SERVER_COLOUR": "an application's own",
    }
    notes = load(None, NAMED, environ).notes
    assert [note.text for note in notes] == [
        "the environment variable MINIWSGI_CONTROL_PATH is not used: did you mean MINIWSGI_CONTROL_SOCKET?",
        "the environment variable MINIWSGI_SERVER_WORKRS is not used: did you mean MINIWSGI_SERVER_WORKERS?",
    ]


@pytest.mark.parametrize(
    ("file", "environ", "flags", "expected"),
    [
        ('module = "a"', {}, {"app.factory": "b"}, ("", "b")),
        ('factory = "a"', {}, {"app.module": "b"}, ("b", "")),
        ('factory = "a"', {"MINIWSGI_APP_MODULE": "b"}, {}, ("b", "")),
        ('factory = "a"', {"MINIWSGI_APP_MODULE": "b"}, {"app.factory": "c"}, ("", "c")),
        ('factory = "a"', {}, {}, ("", "a")),
    ],
)
def test_the_strongest_source_names_the_application(
    write_config: Write, file: str, environ: dict[str, str], flags: dict[str, object], expected: tuple[str, str]
) -> None:
    config = load(write_config(f"[app]\n{file}"), flags, environ)
    assert (config.app.module, config.app.factory) == expected
    assert config.app.target == expected[0] or expected[1]
    settings = worker_settings(config, generation=1, listeners=(), scoreboard_fd=3)
    assert settings.factory is bool(expected[1])


def test_paths_in_a_file_start_at_its_directory_those_of_flags_where_the_daemon_was_started(
    write_config: Write, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "start").mkdir()
    path = write_config('[app]\nmodule="shop"\ndirectory = "app"\n[server]\nbind = "unix:x.sock"\npid_file = "a.pid"\n')
    config = load(path, {"server.pid_file": "b.pid"}, {}, directory=str(tmp_path / "start"))
    assert config.app.directory == str(tmp_path / "app")
    assert addresses(config) == [f"unix:{tmp_path}/x.sock"]
    assert config.server.pid_file == f"{tmp_path}/start/b.pid"


def test_the_file_itself_may_be_named_relatively(write_config: Write, tmp_path: Path) -> None:
    write_config('[app]\nmodule = "shop"')
    assert load("shop.toml", {}, {}, directory=str(tmp_path)).path == f"{tmp_path}/shop.toml"


def test_a_deployment_by_symbolic_link_is_followed_at_a_reload(
    write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory is asked for once; its name, not what it led to, is kept."""
    for release in ("release-1", "release-2"):
        (tmp_path / release).mkdir()
    link = tmp_path / "current"
    link.symlink_to("release-1")
    monkeypatch.chdir(link)
    first = load(None, NAMED, {"PWD": str(link)}, directory=str(link))
    link.unlink()
    link.symlink_to("release-2")
    second = load(None, NAMED, {"PWD": str(link)}, directory=str(link))
    assert first.app.directory == second.app.directory == str(link)
    assert os.path.realpath(second.app.directory).endswith("release-2")


def test_an_empty_file_and_a_byte_order_mark_are_fine(write_config: Write) -> None:
    assert load(write_config(""), NAMED, {}).app.module == "shop:app"
    assert load(write_config(b"\xef\xbb\xbf[server]\r\nworkers = 2\r\n"), NAMED, {}).server.workers == 2


@pytest.mark.parametrize(
    ("flags", "jitter"),
    [
        ({}, 0),
        ({"recycle.max_requests": "1000"}, 100),
        ({"recycle.max_requests": "1000", "recycle.max_requests_jitter": "0"}, 0),
    ],
)
def test_jitter_is_a_tenth_unless_it_is_set(flags: dict[str, str], jitter: int) -> None:
    assert load(None, {**NAMED, **flags}, {}).recycle.max_requests_jitter == jitter


@pytest.mark.parametrize(
    ("pool", "threads", "workers", "notes"),
    [
        ("epoll", 4, 3, 0),
        ("prefork", 1, 3, 1),
        ("fork", 4, 3, 0),
        ("single", 1, 1, 2),
    ],
)
def test_what_a_pool_does_not_use_is_noted(pool: str, threads: int, workers: int, notes: int) -> None:
    flags = {"server.pool": pool, "server.threads": "4", "server.workers": "3"}
    config = load(None, {**NAMED, **flags}, {})
    assert (config.server.threads, config.server.workers, len(config.notes)) == (threads, workers, notes)
    if notes:
        assert f"server.threads (--threads) is not used by pool {pool}" in [note.text for note in config.notes]
    assert load(None, {**NAMED, "server.pool": pool}, {}).notes == ()


def test_pool_single_has_neither_control_socket_nor_metrics() -> None:
    config = load(None, {**NAMED, "server.pool": "single"}, {})
    assert (config.control.socket, config.metrics.bind.address) == ("", "")


# --- what follows from it ----------------------------------------------------------------------------
def test_a_config_cannot_be_changed() -> None:
    config = load(None, NAMED, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.server.workers = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.server = config.server  # type: ignore[misc]


def test_every_key_can_be_asked_for_by_its_path() -> None:
    config = load(None, NAMED, {})
    for path in KEYS:
        section, dot, name = path.partition(".")
        found = getattr(config, section)
        assert config[path] == (getattr(found, name) if dot else found)
    with pytest.raises(KeyError):
        config["server.nope"]


def changed(**flags: object) -> Config:
    return load(None, {**NAMED, **{name.replace("__", "."): value for name, value in flags.items()}}, {})


@pytest.mark.parametrize(
    ("flags", "problems"),
    [
        ({}, []),
        ({"server__workers": "7", "server__bind": ":1", "app__module": "other", "log__level": "debug"}, []),
        ({"server__pool": "prefork"}, []),
        ({"server__user": "root"}, ['server.user = "root": needs a restart; it is "" now (flag)']),
        ({"server__group": "root"}, ['server.group = "root": needs a restart; it is "" now (flag)']),
        ({"metrics__bind": "off"}, ['metrics.bind = "off": needs a restart; it is "127.0.0.1:9464" now (flag)']),
        ({"control__socket": "/x"}, ['control.socket = "/x": needs a restart; it is ']),
        ({"control__mode": "0600"}, ['control.mode = "0600": needs a restart; it is "0660" now (flag)']),
        ({"server__pool": "single"}, ['server.pool = "single": needs a restart; it is "epoll" now (flag)']),
    ],
)
def test_a_reload_cannot_change_everything(flags: dict[str, object], problems: list[str]) -> None:
    found = [str(problem) for problem in reload_problems(changed(), changed(**flags))]
    if "server__pool" in flags and problems:
        found = [line for line in found if line.startswith("server.pool")]
    assert len(found) == len(problems)
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith(expected)


def test_a_reload_after_the_user_has_changed_finds_the_same_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    started_as = os.geteuid()
    first = load(None, NAMED, {}, directory="/", uid=started_as)
    monkeypatch.setattr(os, "geteuid", lambda: started_as + 1)
    assert differences(first, load(None, NAMED, {}, directory="/", uid=started_as)) == []


def test_differences_are_listed_in_the_order_of_the_reference() -> None:
    assert differences(changed(), changed(server__workers="199", app__env=("A=1",))) == [
        "app.env",
        "server.workers",
    ]
    assert differences(changed(), changed()) == []


def test_settings_carry_the_configuration_to_the_workers() -> None:
    flags = {
        "app.directory": "/",
        "limits.body_max": "1 GiB",
        "limits.in_flight": "50",
        "timeouts.keep_alive": "5s",
        "timeouts.minimum_rate": "1 KiB",
        "recycle.max_rss": "512 MiB",
        "proxy.trusted": "10.0.0.0/8",
        "proxy.hops": "2",
        "proxy.client_field": "X-Real-IP",
        "proxy.host_field": "X-Forwarded-Host",
        "log.access_log": "/var/log/x",
        "log.access_skip": "GET /healthz, 304",
        "log.file": "/var/log/e",
        "server.script_name": "/shop",
        "server.server_header": "off",
    }
    listener = Listener(fd=5, name=":80", unix=False, server_name="x", server_port="80")
    settings = worker_settings(
        load(None, {**NAMED, **flags}, {}), generation=3, listeners=[listener], scoreboard_fd=9, journal=True
    )
    assert Settings.from_message(settings.to_message()) == settings
    assert (settings.generation, settings.listeners, settings.scoreboard_fd) == (3, (listener,), 9)
    assert (settings.module, settings.directory, settings.journal) == ("shop:app", "/", True)
    assert (settings.body_max_bytes, settings.in_flight, settings.keep_alive_timeout) == (1 << 30, 50, 5.0)
    assert (settings.minimum_rate, settings.max_rss_bytes) == (1024, 512 << 20)
    assert (settings.trusted, settings.hops, settings.prefix_stripped) == (("10.0.0.0/8",), 2, True)
    assert (settings.client_field, settings.host_field) == ("X-Real-IP", "X-Forwarded-Host")
    assert (settings.access_log, settings.log_file) == ("/var/log/x", "/var/log/e")
    assert (settings.access_skip, settings.access_lines) == (("GET /healthz", "304"), "all")
    assert (settings.script_name, settings.server_header) == ("/shop", "")


def test_every_setting_can_be_configured() -> None:
    """Changing every key changes every field of Settings that is not the master's own."""
    numbers = {path: "1" for path in KEYS if KEYS[path].kind.name in ("number", "size", "duration")}
    numbers |= dict.fromkeys(("limits.request_line", "limits.field_size"), "1000")
    numbers |= {"limits.fields_size": "1000", "recycle.max_rss": "1 MiB"}
    numbers |= {"limits.in_flight": "off"}  # it does not go with another pool than the default
    flags = {
        **numbers,
        "app.factory": "made",
        "app.directory": "/",
        "app.python": "/bin/sh",
        "app.preload": "false",
        "app.boot_check": "/x",
        "app.hooks": "x",
        "app.revision": "x",
        "server.pool": "fork",
        "server.engine": "plain",
        "server.script_name": "/x",
        "server.script_name_stripped": "true",
        "server.server_header": "x",
        "server.request_id_header": "X-Id",
        "server.spool_directory": "/tmp",
        "static": "/x/=/",
        "proxy.trusted": "unix",
        "proxy.fields": "forwarded",
        "proxy.client_field": "X-Real-IP",
        "proxy.scheme_field": "X-Forwarded-Ssl",
        "proxy.host_field": "Forwarded",
        "proxy.port_field": "X-Forwarded-Port",
        "proxy.prefix_field": "X-Forwarded-Prefix",
        "proxy.prefix_stripped": "false",
        "log.level": "error",
        "log.format": "json",
        "log.file": "/x",
        "log.access_log": "-",
        "log.application_level": "error",
        "log.access_log_format": "json",
        "log.access_lines": "problems",
        "log.access_slow": "2s",
        "log.access_skip": "/x",
        "metrics.routes": "/x/*",
    }
    given = worker_settings(
        load(None, flags, {"PYTHONPATH": "/x"}),
        generation=2,
        listeners=(),
        scoreboard_fd=4,
        journal=True,
        app_metrics_directory="/x",
    )
    default = worker_settings(changed(), generation=1, listeners=(), scoreboard_fd=3)
    same = {name for name in Settings._fields if getattr(given, name) == getattr(default, name)}
    assert same == {"listeners", "in_flight", "leader_fd"}


def test_limits_fit_the_scoreboard_and_are_those_of_the_control_api() -> None:
    assert messages.MAX_WORKERS == MAX_WORKERS
    assert 2 * MAX_WORKERS + MAX_SURGE <= MAX_SLOTS
    config = changed(server__threads=str(MAX_THREADS - 1))
    assert config.server.threads + 1 == MAX_THREADS


# --- shown -------------------------------------------------------------------------------------------
def test_what_is_printed_can_be_loaded_again(write_config: Write) -> None:
    first = changed(
        server__bind=(":80", "unix:/x"),
        app__env=("A=b c", 'B="quoted"\n'),
        timeouts__request="90s",
        log__access_log_format='%(h)s "%(r)s"',
        server__umask="0027",
        server__reload_on_change=True,
    )
    second = load(write_config(as_toml(first)), {}, {})
    assert differences(first, second) == []


def test_what_is_printed_tells_origins_and_hides_secrets(write_config: Write, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=hunter2")
    path = write_config(
        "[app]\nmodule = 'shop'\nenv_files = 'env'\n"
        "env = { SECRET_KEY = 'hunter2', DATABASE_URL = 'pg://u:hunter2@h/d', DEBUG = '1' }\n"
    )
    config = load(path, {"server.workers": "3"}, {"MINIWSGI_SERVER_THREADS": "2"})
    text = as_toml(config)
    assert "hunter2" not in text + repr(as_data(config))
    lines = {line.partition(" ")[0]: line for line in text.splitlines()}
    assert text.startswith(f"# {path}\n")
    assert lines["workers"].split() == ["workers", "=", "3", "#", "flag", "--workers"]
    assert lines["threads"].split() == ["threads", "=", "2", "#", "environment", "MINIWSGI_SERVER_THREADS"]
    assert lines["module"].endswith("# file")
    assert lines["backlog"].endswith("# default")
    assert lines["python"].endswith("# default: the interpreter that runs miniwsgi")
    assert "# from app.env_files: FROM_FILE\n" in text
    assert tomllib.loads(text)["app"]["env"]["DEBUG"] == "1"


def test_as_data_is_nested_like_the_file() -> None:
    data = as_data(changed(server__workers="3"))
    assert data["file"] is None
    assert data["values"]["server"]["workers"] == 3
    assert data["values"]["server"]["bind"] == ["127.0.0.1:8000"]
    assert data["values"]["limits"]["body_max"] == 104857600
    assert data["origins"]["server.workers"] == "flag"


# --- declared once -----------------------------------------------------------------------------------
@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_documented_and_its_default_accepted(path: str) -> None:
    key = KEYS[path]
    assert key.doc.endswith((".", ")"))
    assert key.doc[0].isupper() or key.doc.startswith("combined")
    if not key.compute and key.default not in ("", None) and key.default != {}:
        shown = tomllib.loads(f"x = {key.kind.show(key.default)}")["x"]
        assert key.kind.parse(shown, "/") == key.default
    if key.variable:
        assert key.variable == "MINIWSGI_" + path.upper().replace(".", "_")


def test_the_reference_in_the_docs_is_up_to_date() -> None:
    written = (ROOT / "docs/configuration.md").read_text()
    assert written == reference(), "make it anew: miniwsgi config --reference > docs/configuration.md"


def test_the_reference_has_every_key_and_its_example_is_valid(write_config: Write) -> None:
    page = reference()
    for path in KEYS:
        assert page.count(f"\n| `{path}`") == 1
    example = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    assert {f"{section}.{name}" for section, table in example.items() for name in table} <= set(KEYS)
