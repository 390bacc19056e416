"""The keys of [metrics], and the port's sockets at the start."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from miniwsgi.daemon.config import Config, ConfigError, load, reload_problems
from miniwsgi.daemon.config.effective import as_data, as_toml
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.log.writer import Writer
from miniwsgi.daemon.master.sockets.listeners import BindError
from miniwsgi.daemon.master.telemetry.metrics_port import open_metrics, rules_of

NAMED = {"app.module": "shop:app"}


def configured(**metrics: object) -> Config:
    return load(
        None, {**NAMED, "server.workers": "4", **{f"metrics.{name}": value for name, value in metrics.items()}}, {}
    )


def mistake(**metrics: object) -> str:
    """The one mistake that there is."""
    with pytest.raises(ConfigError) as raised:
        configured(**metrics)
    (problem,) = raised.value.problems
    return str(problem)


# --- keys ----------------------------------------------------------------------------------------------------------


def test_by_default_it_is_on_loopback_and_for_everybody_there() -> None:
    config = configured()
    metrics = config.metrics
    assert (metrics.bind.address, metrics.token_file, metrics.allow, metrics.ready_min) == ("127.0.0.1:9464", "", (), 1)
    assert metrics.fine_buckets is False
    assert config.metrics_token == ""


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"ready_min": "5"}, 'metrics.ready_min = "5": expected at most server.workers, 4'),
        ({"ready_min": "0"}, "metrics.ready_min = 0: expected a whole number from 1 to 200"),
        ({"allow": "unix"}, 'metrics.allow = "unix": expected an IP address, or a network such as "10.0.0.0/8"'),
        ({"allow": "10.0.0.1/8"}, 'metrics.allow = "10.0.0.1/8": expected an IP address, or a network'),
        ({"allow": "*"}, 'metrics.allow = "*": expected an IP address'),
        ({"token_file": "/nowhere"}, 'metrics.token_file = "/nowhere": expected the path of a file'),
    ],
)
def test_a_wrong_value_is_told(metrics: Mapping[str, object], expected: str) -> None:
    assert mistake(**metrics).startswith(expected)


@pytest.mark.parametrize("workers", ["many", "0"])
def test_a_wrong_number_of_workers_is_one_mistake(workers: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, {**NAMED, "server.workers": workers, "metrics.ready_min": "200"}, {})
    assert [problem.key for problem in raised.value.problems] == ["server.workers"]


def test_pool_single_has_nothing_of_it_and_says_so() -> None:
    flags = {**NAMED, "server.pool": "single", "metrics.bind": ":1", "metrics.ready_min": "4"}
    config = load(None, flags, {})
    assert (config.metrics.bind.address, config.metrics.ready_min) == ("", 1)
    assert sorted(note.text for note in config.notes) == [
        "metrics.bind (--metrics-bind) is not used by pool single",
        "metrics.ready_min (command line) is not used by pool single",
    ]


def test_the_address_needs_a_restart_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    changed = configured(token_file=str(tmp_path / "token"), allow="10.0.0.0/8", ready_min="2", fine_buckets="true")
    assert reload_problems(configured(), changed) == []
    problems = [str(problem) for problem in reload_problems(configured(), configured(bind="off"))]
    assert problems == ['metrics.bind = "off": needs a restart; it is "127.0.0.1:9464" now (flag)']


# --- the token -----------------------------------------------------------------------------------------------------


def test_the_token_is_what_the_file_has_without_its_line_end_and_is_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t0ken~+/=\n")
    config = configured(token_file=str(path))
    assert config.metrics_token == rules_of(config).token == "t0ken~+/="
    for shown in (repr(config), as_toml(config), repr(as_data(config)), repr(rules_of(config))):
        assert "t0ken" not in shown


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two words", b"two\nlines\n", b"\xc3\xa9", b"a\0b", b"x" * 1001, b"\n" * 2000]
)
def test_a_file_without_a_token_is_a_mistake_that_does_not_repeat_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    said = mistake(token_file=str(path))
    assert "expected a file with a token: one line of 1 to 1000 ASCII characters without blanks" in said
    assert "xxxx" not in said.replace(str(path), "")


def test_networks_and_names_become_rules() -> None:
    rules = rules_of(configured(bind="Shop.example:9464", allow="10.0.0.0/8,::1"))
    assert rules.allow == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert {"shop.example", socket.gethostname().lower()} == rules.names


# --- sockets at the start --------------------------------------------------------------------------------------------


def logged(path: Path) -> tuple[ErrorLog, Path]:
    return ErrorLog(writer=Writer(str(path))), path


def test_off_opens_nothing(tmp_path: Path) -> None:
    log, path = logged(tmp_path / "log")
    assert open_metrics(configured(bind="off"), {}, log) == ([], "")
    log.flush(5)
    assert path.read_text() == ""


def test_the_default_address_in_use_is_a_line_and_another_one_an_error(tmp_path: Path) -> None:
    log, path = logged(tmp_path / "log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        asked = configured(bind=bind)
        with pytest.raises(BindError, match=r"metrics and health: cannot listen on .* is in use .*; metrics\.bind "):
            open_metrics(asked, {}, log)
        default = dataclasses.replace(asked, origins={**asked.origins, "metrics.bind": "default"})
        found, why = open_metrics(default, {}, log)
        assert found == []
        assert why.startswith(f"cannot listen on {bind}"), "for status"
    log.flush(5)
    (line,) = path.read_text().splitlines()
    assert f"metrics and health are off: cannot listen on {bind}" in line
    assert line.endswith("--metrics-bind names another address, or off")
    (listener,), why = open_metrics(asked, {}, log)
    assert not why
    listener.close()
