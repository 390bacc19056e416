"""What the import leaves behind: workers do not share what they must not, and delete nothing that they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.service import Service

from .test_master_start import get

HOLDS = """
    import atexit, fcntl, json, os, sqlite3, subprocess, sys, tempfile
    lock = open("lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    database = sqlite3.connect("app.db", check_same_thread=False)
    database.execute("create table if not exists lines (line)")
    database.commit()
    helper = subprocess.Popen([sys.executable, "-c", "for line in open(0): print(line, end='', flush=True)"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    directory = tempfile.TemporaryDirectory(dir=".", prefix="made-")
    imported_in = os.getpid()
    with open("helpers", "a") as file:
        file.write(f"{helper.pid}\\n")
    open("pid-file", "x").close()
    atexit.register(os.unlink, os.path.abspath("pid-file"))
    def application(environ, start_response):
        helper.stdin.write(b"said\\n"); helper.stdin.flush()
        start_response("200 OK", [])
        facts = {"imported_here": imported_in == os.getpid(), "said": helper.stdout.readline().decode(),
                 "helper": helper.pid, "directory": directory.name}
        return [json.dumps(facts).encode()]
"""


def facts(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(daemon))
    return found


def test_what_workers_must_not_share_is_ended_and_each_worker_has_its_own(service: Service) -> None:
    service.write(HOLDS)
    daemon = service.start("--workers", "1")  # its import would fail if the launcher had not let go
    log = daemon.log()
    assert "each worker imports the application by itself: the import left 1 child process: " in log
    assert f"1 held lock: {service.directory}/lock (flock)" in log
    assert f"1 SQLite database opened for writing: {service.directory}/app.db" in log
    assert "2 pipes" in log
    said = facts(daemon)
    assert said["imported_here"]
    assert said["said"] == "said\n"
    first, second = map(int, (service.directory / "helpers").read_text().split())
    assert second == said["helper"]
    assert not psutil.pid_exists(first)
    assert list(service.directory.glob("made-*")) == [service.directory / Path(said["directory"]).name]


ONE_REQUEST = {"MINIWSGI_RECYCLE_MAX_REQUESTS": "1", "MINIWSGI_RECYCLE_MAX_REQUESTS_JITTER": "0"}

SHARES = """
    import atexit, logging, multiprocessing.util, os, tempfile, weakref
    directory = tempfile.TemporaryDirectory(dir=".", prefix="made-")
    def note(what):
        with open(os.path.join(here, "ended"), "a") as file:
            file.write(f"{what} in {open('/proc/self/comm').read()}")
    class Thing: pass
    here, thing = os.getcwd(), Thing()
    weakref.finalize(thing, note, "finalizer")
    multiprocessing.util.Finalize(None, note, ("multiprocessing's",), exitpriority=1)
    atexit.register(note, "exit function")
    def application(environ, start_response):
        start_response("200 OK", [])
        return [f"{os.getpid()} {os.path.isdir(directory.name)}".encode()]
"""


def test_a_worker_that_ends_deletes_nothing_that_all_share(service: Service) -> None:
    service.write(SHARES)
    daemon = service.start("--workers", "1", environ=ONE_REQUEST)
    first, there = get(daemon).split()
    assert there == "True"
    daemon.wait_for_log("has left: recycled")
    second, there = get(daemon).split()
    assert first != second
    assert there == "True"
    daemon.wait_for_log("has left: recycled", 2)
    (directory,) = service.directory.glob("made-*")
    assert daemon.stop() == 0
    assert not directory.exists()
    ended = (service.directory / "ended").read_text().splitlines()
    assert sorted(line for line in ended if "exit function" not in line) == [
        "finalizer in mw-launcher",
        "multiprocessing's in mw-launcher",
    ]
    assert ended.count("exit function in mw-worker/0") + ended.count("exit function in mw-worker/1") == 3
    assert ended.count("exit function in mw-launcher") == 1


def test_a_lock_of_the_import_fails_the_reload_and_the_verdict_says_who_has_it(service: Service) -> None:
    service.write(
        """
        import fcntl
        lock = open("lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"served"]
        """
    )
    daemon = service.start("--workers", "1")
    assert not daemon.reload()
    (verdict,) = (line for line in daemon.log().splitlines() if "reload failed" in line)
    assert "BlockingIOError: [Errno 11] Resource temporarily unavailable; what it wants is held by another" in verdict
    assert "probably the running generation" in verdict
    assert get(daemon) == "served"


def test_a_lock_of_the_import_fails_a_start_with_two_workers(service: Service) -> None:
    service.write(
        """
        import fcntl
        lock = open("lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        def application(environ, start_response): ...
        """
    )
    done = service.run("--bind", f"127.0.0.1:{free_port()}", "--workers", "2", "--preload", "false")
    assert done.returncode == 3
    assert done.stderr.count("of generation 1 is ready after") == 1
    assert "start failed: worker 1 (pid" in done.stderr
    assert "has left: stop" in done.stderr, "the one that served has drained"


def test_an_at_fork_function_that_raises_fails_the_boot(service: Service) -> None:
    service.write(
        """
        import os
        def connect():
            raise RuntimeError("cannot reconnect")
        os.register_at_fork(after_in_child=connect)
        def application(environ, start_response): ...
        """
    )
    done = service.run("--bind", f"127.0.0.1:{free_port()}")
    assert done.returncode == 3
    said = "an at-fork function of the application, connect, raised RuntimeError: cannot reconnect"
    assert f"did not boot: {said}" in done.stderr
    assert 'raise RuntimeError("cannot reconnect")' in done.stderr
