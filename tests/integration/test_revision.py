"""The revision of the code that runs: bound to what was imported, and said wherever a generation is."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.control import Control, control_of
from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.service import Service


@contextlib.contextmanager
def at_revision_one(service: Service, *arguments: str) -> Iterator[tuple[Daemon, Control, Path]]:
    """A worker, its daemon's control API, and the file that says which revision lies on disk."""
    revision = service.directory / "REVISION"
    revision.write_text("one\n")
    daemon = service.start("--workers", "1", "--control", str(service.directory / "c.sock"), *arguments)
    with Control(control_of(daemon)) as control:
        yield daemon, control, revision


def runs(control: Control) -> tuple[Any, list[Any]]:
    """What the generation in force runs, and what those workers run that are to stay."""
    ready = [worker for worker in control.workers() if worker["state"] == "ready" and not worker["reason"]]
    return control.status()["revision"], [worker["revision"] for worker in ready]


def test_preloaded_code_has_the_revision_that_it_had_when_it_was_imported(service: Service) -> None:
    port = free_port()
    options = ("--preload", "true", "--metrics-bind", f"127.0.0.1:{port}")
    with at_revision_one(service, *options) as (daemon, control, revision):
        assert control.status()["revision_source"] == f"{revision}"
        revision.write_text("two\n")
        control.change("/restart")
        assert runs(control) == ("one", ["one"])
        reloaded = control.change("/reload")
        assert (reloaded["previous_revision"], reloaded["revision"]) == ("one", "two")
        assert runs(control) == ("two", ["two"])
        assert control.status()["last_reload"]["previous_revision"] == "one"
        daemon.wait_for_log("s, one → two (operation ")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert b'miniwsgi_generation_info{generation="2",revision="two"} 1\n' in answer.read()
        events = control.get("/events")["events"]
        assert "generation 2 (two): is in force" in [event["message"] for event in events]
        assert {event["revision"] for event in events if event["kind"] == "worker.ready"} == {"one", "two"}
        revision.write_text("three\n")
        service.write("raise RuntimeError")
        failed = control.post("/reload?wait=60")
        assert (failed["state"], failed["previous_revision"], failed["revision"]) == ("failed", "two", "three")
        assert runs(control) == ("two", ["two"])


def test_workers_that_import_by_themselves_say_what_each_of_them_runs(service: Service) -> None:
    with at_revision_one(service, "--preload", "false") as (daemon, control, revision):
        assert runs(control) == ("one", ["one"])
        revision.write_text("two\n")
        control.change("/restart")
        assert runs(control) == ("one", ["two"])
        daemon.wait_for_log("runs two, generation 1 began with one: the code on disk has changed; reload")
