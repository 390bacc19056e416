"""What the interpreter can run is looked at before the import."""

from __future__ import annotations

import sys

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker.application import BootError
from miniwsgi.daemon.worker.interpreter import engine_for


def settings(**chosen: object) -> Settings:
    return Settings(**{"generation": 1, "listeners": (), "scoreboard_fd": -1, "module": "", "directory": "", **chosen})


@pytest.mark.parametrize("has_gil", [None, lambda: True], ids=["before CPython 3.13", "with the lock"])
def test_an_interpreter_with_the_lock_runs_everything(monkeypatch: pytest.MonkeyPatch, has_gil: object) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", has_gil, raising=False)
    assert engine_for(settings(threads=8, engine="plain")).name == "plain"


def test_one_without_the_lock_runs_no_threads_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(BootError) as caught:
        engine_for(settings(threads=8))
    assert caught.value.code is Code.INTERPRETER_UNFIT
    for said in ("without the global interpreter lock", "server.threads = 8", "server.threads = 1", "PYTHON_GIL"):
        assert said in caught.value.error
    assert sys.executable in caught.value.error
    for pool, threads in (("epoll", 1), ("prefork", 1), ("fork", 8), ("single", 1)):
        assert engine_for(settings(pool=pool, threads=threads, engine="plain")).name == "plain"


def test_an_engine_that_does_not_run_is_a_failed_boot() -> None:
    with pytest.raises(BootError, match=r'server\.engine = "slow"') as caught:
        engine_for(settings(engine="slow"))
    assert caught.value.code is Code.ENGINE_UNAVAILABLE
