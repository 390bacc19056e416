"""What hosting platforms set is obeyed where nothing that is miniwsgi's own says anything."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.config import load
from miniwsgi.daemon.config.binds import Bind
from miniwsgi.daemon.config.effective import as_data, as_toml
from miniwsgi.daemon.config.keys import KEYS

from .config_files import NAMED, Write, mistakes


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("PORT", "5000", "server.bind", (Bind(address=":5000"),)),
        ("PORT", " 0080 ", "server.bind", (Bind(address=":80"),)),
        ("PORT", "", "server.bind", (Bind(address="127.0.0.1:8000"),)),
        ("WEB_CONCURRENCY", "3", "server.workers", 3),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1, 10.1.0.0/16", "proxy.trusted", ("10.0.0.1", "10.1.0.0/16")),
        ("FORWARDED_ALLOW_IPS", "*", "proxy.trusted", ("*",)),
    ],
)
def test_a_platforms_variable_is_weaker_than_all_but_the_default(
    write_config: Write, variable: str, text: str, path: str, value: object
) -> None:
    config = load(None, NAMED, {variable: text})
    assert config[path] == value
    assert config.origins[path] == ("platform" if text else "default")
    if text:
        assert f"# platform {variable}\n" in as_toml(config)
        assert as_data(config)["origins"][path] == "platform"
    section, _, name = path.partition(".")
    stronger = {"server.bind": ":1", "server.workers": "1", "proxy.trusted": "::1"}[path]
    file = write_config(f"[{section}]\n{name} = {stronger if name == 'workers' else repr(stronger)}\n")
    own = {KEYS[path].variable: stronger}
    expected = load(None, {**NAMED, path: stronger}, {})[path]
    for at, flags, environ, origin in (
        (file, {}, {}, "file"),
        (None, {}, own, "environment"),
        (None, {path: stronger}, {}, "flag"),
    ):
        config = load(at, {**NAMED, **flags}, {variable: "unfit, and nobody cares", **environ})
        assert (config[path], config.origins[path]) == (expected, origin)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("PORT", "http", 'server.bind = "http": expected a port from 1 to 65535 (environment variable PORT)'),
        ("PORT", "0", 'server.bind = "0": expected a port from 1 to 65535 (environment variable PORT)'),
        ("PORT", "65536", 'server.bind = "65536": expected a port from 1 to 65535 (environment variable PORT)'),
        (
            "WEB_CONCURRENCY",
            "two",
            'server.workers = "two": expected a whole number from 1 to 200 (environment variable WEB_CONCURRENCY)',
        ),
        (
            "FORWARDED_ALLOW_IPS",
            "10.0.0.1,router",
            'proxy.trusted = "router": expected an IP address, a network such as "10.0.0.0/8", "unix" or "*" '
            "(environment variable FORWARDED_ALLOW_IPS)",
        ),
    ],
)
def test_a_mistake_in_a_platforms_variable_names_it(variable: str, text: str, said: str) -> None:
    assert mistakes(None, {**NAMED}, **{variable: text}) == [said]


def test_gunicorns_arguments_are_named_and_not_obeyed() -> None:
    (note,) = load(None, NAMED, {"GUNICORN_CMD_ARGS": "--workers 9"}).notes
    assert note.text.startswith("the environment variable GUNICORN_CMD_ARGS is gunicorn's and is not obeyed: ")
    assert load(None, NAMED, {"GUNICORN_CMD_ARGS": ""}).notes == ()


def test_what_a_pool_does_not_use_of_the_platform_is_noted_by_its_name() -> None:
    notes = load(None, {**NAMED, "server.pool": "single"}, {"WEB_CONCURRENCY": "3"}).notes
    assert [note.text for note in notes] == ["server.workers (WEB_CONCURRENCY) is not used by pool single"]
