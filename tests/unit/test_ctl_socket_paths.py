"""Which socket a command goes to, from what is given, the environment, and what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniwsgi.manager.client import socket_paths

from tests.support.ctl_daemon import FakeDaemon, run


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIWSGI_CONTROL", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket_paths, "SYSTEM_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    (tmp_path / "run" / "shop").mkdir(parents=True)
    (tmp_path / "user" / "miniwsgi").mkdir(parents=True)


def test_the_likeliest_directory_comes_first() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/miniwsgi/shop:/run/other", "XDG_RUNTIME_DIR": "/run/user/1000"}
    system = socket_paths.SYSTEM_DIRECTORY
    assert socket_paths.directories(environ, 0) == ["/run/miniwsgi/shop", system, "/run/user/1000/miniwsgi"]
    assert socket_paths.directories(environ, 1000) == ["/run/miniwsgi/shop", "/run/user/1000/miniwsgi", system]
    assert socket_paths.directories({"XDG_RUNTIME_DIR": "relative"}, 1000) == [system]


def test_the_first_that_is_there_is_taken(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "user")}
    assert socket_paths.find(environ, 0) == f"{tmp_path}/run/control.sock"
    (tmp_path / "user" / "miniwsgi" / "control.sock").touch()
    assert socket_paths.find(environ, 0) == f"{tmp_path}/user/miniwsgi/control.sock"
    (tmp_path / "run" / "control.sock").touch()
    assert socket_paths.find(environ, 0) == f"{tmp_path}/run/control.sock"
    assert socket_paths.find(environ, 1000) == f"{tmp_path}/user/miniwsgi/control.sock"
    assert socket_paths.find(environ, 0, "shop") == f"{tmp_path}/run/shop/control.sock"


def test_a_command_finds_the_instance(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "run" / "shop" / "control.sock"):
        assert run("--instance", "shop", "ping").status == 0
        assert run("ping", "-i", "shop").status == 0
        absent = run("ping")
        assert absent.status == 3
        assert f"no daemon listens on {tmp_path}/run/control.sock" in absent.err
        assert "there is shop" in absent.err


def test_what_is_given_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDaemon(tmp_path / "run" / "shop" / "control.sock"):
        monkeypatch.setenv("MINIWSGI_CONTROL", "/nowhere")
        assert "/nowhere" in run("ping").err
        assert run("-i", "shop", "ping").status == 0
        assert run("-s", f"{tmp_path}/run/shop/control.sock", "ping").status == 0
        monkeypatch.setenv("MINIWSGI_CONTROL", f"{tmp_path}/run/shop/control.sock")
        assert run("ping").status == 0


def test_two_names_for_the_daemon_are_a_mistake() -> None:
    found = run("-i", "shop", "ping", "-s", "/x")
    assert (found.status, "give one of them" in found.err) == (2, True)


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "ä"])
def test_an_instance_is_the_name_of_a_unit(name: str) -> None:
    assert run("-i", name, "ping").status == 2


def test_list_shows_those_that_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "left").mkdir()
    (tmp_path / "run" / "left" / "control.sock").touch()
    nothing = run("list")
    assert (nothing.status, nothing.out) == (0, "")
    assert f"no daemon runs; looked in {tmp_path}/run" in nothing.err
    assert run("list", "-o", "json").json == []
    with (
        FakeDaemon(tmp_path / "run" / "shop" / "control.sock"),
        FakeDaemon(tmp_path / "user" / "miniwsgi" / "control.sock"),
    ):
        header, *rows = run("list").out.splitlines()
        assert " ".join(header.split()) == "INSTANCE PID STATE WORKERS UP VERSION APPLICATION SOCKET"
        found = [row.split() for row in rows]
        assert [row[:4] for row in found] == [["shop", "4711", "running", "2/2"], ["-", "4711", "running", "2/2"]]
        named, unnamed = run("list", "-o", "json").json
        socket = f"{tmp_path}/run/shop/control.sock"
        assert [row["instance"] for row in run("list", "-o", "json", "-s", socket).json] == ["shop"]
        assert [row["socket"] for row in run("-i", "shop", "list", "-o", "json").json] == [socket]
        elsewhere = run("list", "-s", f"{tmp_path}/elsewhere.sock")
    assert (named["instance"], named["socket"]) == ("shop", f"{tmp_path}/run/shop/control.sock")
    assert unnamed["instance"] == ""
    assert f"no daemon runs; looked in {tmp_path}/elsewhere.sock" in elsewhere.err
