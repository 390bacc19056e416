"""The engine and the interpreter of a daemon: what runs is told, and what cannot run is refused before the import.

The processes of a daemon are given another interpreter's answers, and an engine that does not exist, by a
sitecustomize: the daemon itself is as it always is.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice, plain

from tests.support.ctl import Tool
from tests.support.engines import CHOSEN
from tests.support.ports import free_port
from tests.support.service import Service, get

from .worker_harness import Site, made_site, pools  # noqa: F401

NO_LOCK = """
import sys
sys._is_gil_enabled = lambda: False
"""

ANOTHER_ENGINE = """
import importlib.machinery, sys

def load():
    raise ImportError("no build for this Python")

class Finder:
    def find_spec(self, name, path, target=None):
        if name != "miniwsgi.daemon.engine.choice":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_add(module):
            execute(module)
            module.ENGINES[:-1] = [module.Engine("fast", load)]

        spec.loader.exec_module = execute_and_add
        return spec

sys.meta_path.insert(0, Finder())
"""


def customized(service: Service, source: str) -> dict[str, str]:
    """The environment of a daemon in whose processes the source runs first."""
    (service.directory / "site").mkdir()
    service.write(source, "site/sitecustomize.py")
    return {"PYTHONPATH": str(service.directory / "site")}


def test_what_workers_run_is_told_everywhere(service: Service) -> None:
    metrics, socket = free_port(), service.directory / "control.sock"
    daemon = service.start("--workers", "1", "--control", str(socket), "--metrics-bind", f"127.0.0.1:{metrics}")
    daemon.wait_for_log("start: done")
    name = choice.choose(CHOSEN).name
    assert f"  engine:       {name}" in Tool(socket)("status").out
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/status.json") as answer:
        assert json.load(answer)["engine"] == name
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        (build,) = [line for line in answer.read().decode().splitlines() if line.startswith("miniwsgi_build_info{")]
    assert f'engine="{name}"' in build
    assert daemon.log().count(f"generation 1: engine {name}") == 1


class Another(plain.Conversation):
    """Tells itself by a field of its answers."""

    engine = "another"

    def send(self, data: bytes, /) -> bool:
        return super().send(data.replace(b"\r\n\r\n", b"\r\nX-Engine: another\r\n\r\n", 1))


@pools()
def test_the_chosen_engine_has_every_conversation_and_names_itself(site: Site, pool: str) -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def add() -> None:
        choice.ENGINES.insert(0, choice.Engine("another", lambda: Another))

    worker = site.fork(application, pool, prepare=add, engine="another", ready=False)
    said = worker.message("ready")
    assert (said["engine"], said["why"]) == ("another", "")
    worker.tell("serve")
    assert site.get("/").all("X-Engine") == ["another"]


def test_why_it_is_not_a_faster_one_is_told_everywhere_and_logged_once_a_generation(service: Service) -> None:
    environ = customized(service, ANOTHER_ENGINE)
    metrics, socket = free_port(), service.directory / "control.sock"
    daemon = service.start(
        "--workers", "2", "--control", str(socket), "--metrics-bind", f"127.0.0.1:{metrics}", environ=environ
    )
    daemon.wait_for_log("start: done")
    assert "  engine:       plain: no build for this Python\n" in Tool(socket)("status").out
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/status.json") as answer:
        assert json.load(answer)["engine_note"] == "no build for this Python"
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        assert 'engine="plain",engine_note="no build for this Python"' in answer.read().decode()
    assert Tool(socket)("reload").status == 0
    for generation in (1, 2):
        assert daemon.log().count(f"generation {generation}: engine plain: no build for this Python") == 1


def test_one_that_is_named_and_does_not_run_fails_the_start(service: Service) -> None:
    environ = customized(service, ANOTHER_ENGINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environ["PYTHONPATH"])
        ended = service.run("--engine", "fast", "--bind", "127.0.0.1:0")
    assert ended.returncode == 3
    assert 'server.engine = "fast" does not run here: no build for this Python; "auto" or "plain" does' in ended.stderr


def test_an_interpreter_without_the_lock_runs_one_thread(service: Service) -> None:
    daemon = service.start("--threads", "1", "--workers", "1", environ=customized(service, NO_LOCK))
    assert get(daemon).startswith("v1")


def test_more_threads_are_refused_before_the_import(service: Service) -> None:
    environ = customized(service, NO_LOCK)
    service.write("raise SystemExit('imported')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environ["PYTHONPATH"])
        ended = service.run("--workers", "1", "--bind", "127.0.0.1:0")
    assert ended.returncode == 3
    assert "runs without the global interpreter lock, which server.threads = 8 needs: set server.threads = 1" in (
        ended.stderr
    )
    assert "imported" not in ended.stderr
