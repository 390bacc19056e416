"""A worker calls the application's hooks where docs/hooks.md says, in every pool and on every engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from miniwsgi.daemon.channel import Channel
from miniwsgi.daemon.worker.hooks import Hook, Hooks

from tests.support.control import Control
from tests.support.engines import ENGINES
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_harness import Record, Site, Worker, pools

LONG = 600


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def hooks(**functions) -> Hooks:
    return Hooks("shop.hooks", {(hook := Hook(name)): (f, len(hook.arguments)) for name, f in functions.items()})


def noting(record: Record, *names: str) -> Hooks:
    """Hooks that note their name, what they are told, and whether they are on the main thread."""

    def note(name):
        def hook(worker, *reason):
            where = "main" if threading.current_thread() is threading.main_thread() else "beside"
            assert worker.pid == os.getpid()
            record.note(" ".join([name, f"{worker.slot}/{worker.generation}/{worker.pool}", where, *reason]))

        return hook

    return hooks(**{name: note(name) for name in names})


ALL = ("worker_start", "worker_ready", "worker_drain", "worker_stop")


def life(site: Site, record: Record, pool: str, **settings) -> list[str]:
    """The hooks that a worker calls from its boot to its end."""
    worker = site.fork(hello, pool, hooks=noting(record, *ALL), **settings)
    kind = pool.partition("-")[0]
    assert record.lines()[0] == f"worker_start 0/1/{kind} main"  # before it was ready
    record.wait(2)
    assert site.get("/").body == b"ok"
    worker.tell("drain", deadline=20, reason="reload")
    assert worker.wait() == 0
    assert [line.split()[1] for line in record.lines()] == [f"0/1/{kind}"] * 4
    return [f"{(words := line.split())[0]} {' '.join(words[2:])}" for line in record.lines()]


LIFE = ["worker_start main", "worker_ready beside", "worker_drain beside", "worker_stop main reload"]


@pools()
def test_a_worker_calls_its_hooks_in_every_pool(site: Site, pool: str, tmp_path: Path) -> None:
    assert life(site, Record(tmp_path / "said"), pool) == LIFE


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_calls_its_hooks_on_every_engine(site: Site, engine: str, tmp_path: Path) -> None:
    assert life(site, Record(tmp_path / "said"), "epoll-8", engine=engine) == LIFE


@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (lambda worker: worker.tell("finish", deadline=20, accept=[]), "stop"),
        (lambda worker: worker.control.close(), "orphaned"),
    ],
    ids=["stop", "master-gone"],
)
def test_worker_stop_is_told_why(site: Site, leave, reason: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "said")
    worker = site.fork(hello, hooks=noting(record, "worker_stop"))
    leave(worker)
    assert worker.wait() == 0
    assert record.lines() == [f"worker_stop 0/1/epoll main {reason}"]


def test_a_worker_whose_start_fails_is_not_ready(site: Site) -> None:
    def worker_start(_worker):
        raise RuntimeError("no database")

    worker = site.fork(hello, ready=False, hooks=hooks(worker_start=worker_start))
    failed = worker.message("failed")
    assert failed["error"] == "app.hooks: worker_start of shop.hooks failed: RuntimeError: no database"
    assert "in worker_start" in failed["traceback"]
    assert worker.wait() == 3
    assert not worker.heard("ready")


def test_a_worker_whose_start_hangs_is_not_ready(site: Site) -> None:
    gate = site.gate()
    worker = site.fork(hello, ready=False, hook_timeout=0.2, hooks=hooks(worker_start=lambda _worker: gate.wait(LONG)))
    assert worker.message("hook") == {"kind": "hook", "name": "worker_start", "runs": True}
    failed = worker.message("failed")
    assert "worker_start of shop.hooks has not returned after 0.2 s (timeouts.hook)" in failed["error"]
    assert "gate.wait(LONG)" in failed["traceback"]
    assert worker.wait() == 3


@pools()
@pytest.mark.parametrize("name", ["worker_ready", "worker_drain"])
def test_a_hook_beside_the_requests_holds_none_up_and_fails_nothing(site: Site, pool: str, name: str) -> None:
    gate = site.gate()

    def hook(_worker):
        gate.wait(LONG)
        raise RuntimeError("nobody minds")

    worker = site.fork(hello, pool, drain_idle=0.1, hooks=hooks(**{name: hook}))
    client = site.connect()
    client.get("/1").answer()
    if name == "worker_drain":
        worker.tell("drain", deadline=20, reason="scale")
    assert worker.message("hook")["runs"]
    client.get("/2").answer()
    client.close()
    gate.open()
    assert not worker.message("hook")["runs"]
    if name == "worker_ready":
        worker.tell("drain", deadline=20, reason="scale")
    assert worker.wait() == 0
    assert f"{name} of shop.hooks failed: RuntimeError: nobody minds" in worker.log()


def test_a_late_hook_beside_the_requests_is_told_and_keeps_the_last_one_not_from_running(
    site: Site, tmp_path: Path
) -> None:
    gate, record = site.gate(), Record(tmp_path / "said")
    called = hooks(worker_ready=lambda _worker: gate.wait(LONG), worker_stop=lambda _worker, _why: record.note("stop"))
    worker = site.fork(hello, hook_timeout=0.2, hooks=called)
    worker.tell("drain", deadline=20, reason="scale")
    assert worker.wait() == 0
    assert "worker_ready of shop.hooks has not returned after 0.2 s (timeouts.hook); it goes on" in worker.log()
    assert record.lines() == ["stop"]


@pytest.mark.parametrize(
    ("settings", "deadline", "said"),
    [
        ({"hook_timeout": 0.2}, 20, "has not returned after 0.2 s (timeouts.hook): it ends without"),
        ({}, 1, "the worker's time is over (timeouts.graceful) before its hooks have returned"),
    ],
    ids=["its own", "the drain's"],
)
def test_worker_stop_has_its_time_and_no_more(site: Site, settings, deadline: float, said: str) -> None:
    gate = site.gate()
    worker = site.fork(hello, hooks=hooks(worker_stop=lambda _worker, _why: gate.wait(LONG)), **settings)
    worker.tell("drain", deadline=deadline, reason="scale")
    assert worker.wait() == 0
    assert said in worker.log()
    assert "gate.wait(LONG)" in worker.log()


def test_requests_leave_worker_stop_some_of_the_drains_time_although_the_main_thread_is_in_one(
    site: Site, tmp_path: Path
) -> None:
    gate, record = site.gate(), Record(tmp_path / "said")

    def held(environ, start_response):
        record.note("held")
        gate.wait(LONG)
        return hello(environ, start_response)

    worker = site.fork(held, "epoll-8", hooks=hooks(worker_stop=lambda _worker, why: record.note(why)))
    site.connect().get("/")
    record.wait(1)
    worker.tell("drain", deadline=2, reason="reload")
    assert worker.wait() == 0
    assert record.lines() == ["held", "reload"]


# --- the leader ------------------------------------------------------------------------------------------


def leading(site: Site, **functions) -> tuple[Worker, Channel]:
    """A worker that may lead, and the channel for the order."""
    worker = site.fork(hello, hooks=hooks(**functions), hook_timeout=0.2, ready=False)
    while (received := worker.control.receive()) is not None:  # which waits; the test has its time limit
        message, fds = received
        if message["kind"] == "ready":
            break
        for fd in fds:
            os.close(fd)
    (fd,) = fds
    worker.tell("serve")
    return worker, Channel.from_fd(fd)


def test_a_worker_leads_when_it_is_asked_and_until_it_drains(site: Site, tmp_path: Path) -> None:
    record = Record(tmp_path / "said")
    worker, orders = leading(
        site, leader_start=lambda _worker: record.note("start"), leader_stop=lambda _worker: record.note("stop")
    )
    assert record.lines() == []
    orders.send("lead")
    assert worker.message("leader")["state"] == "started"
    worker.tell("drain", deadline=20, reason="scale")  # the end by the channel may come later
    assert worker.message("leader")["state"] == "stopped"
    assert worker.wait() == 0
    assert record.lines() == ["start", "stop"]
    orders.close()


def test_a_worker_that_drains_is_asked_in_vain(site: Site, tmp_path: Path) -> None:
    record = Record(tmp_path / "said")
    worker, orders = leading(site, leader_start=lambda _worker: record.note("start"))
    orders.send("lead")
    orders.send("end")
    worker.tell("drain", deadline=20, reason="scale")
    assert worker.wait() == 0  # it may have said something of that, or nothing: the master hears of its end
    orders.close()


def test_a_leader_that_fails_can_be_asked_again_and_one_that_is_late_says_so(site: Site, tmp_path: Path) -> None:
    gate, fails = site.gate(), tmp_path / "fails"
    fails.touch()

    def leader_start():
        if fails.exists():
            raise RuntimeError("no database")
        gate.wait(LONG)

    worker, orders = leading(site, leader_start=lambda _worker: leader_start())
    orders.send("lead")
    failed = worker.message("leader")
    assert (failed["state"], "RuntimeError: no database" in failed["error"]) == ("failed", True)
    assert "in leader_start" in failed["traceback"]
    fails.unlink()
    orders.send("lead")
    late = worker.message("leader")
    assert (late["state"], "gate.wait(LONG)" in late["traceback"]) == ("late", True)
    gate.open()
    assert worker.message("leader")["state"] == "started"  # after all
    orders.close()  # the master is gone
    assert worker.message("leader")["state"] == "stopped"
    worker.tell("drain", deadline=20, reason="scale")
    assert worker.wait() == 0


# --- with a daemon ---------------------------------------------------------------------------------------

HOOKS = """
import os
def note(text):
    fd = os.open("said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\\n".encode())
    os.close(fd)
def loaded(app): note(f"loaded {callable(app)}")
def worker_start(worker):
    if os.path.exists("broken"):
        raise RuntimeError("no database")
    note(f"start {worker.generation}")
def worker_stop(worker, reason): note(f"stop {worker.generation} {reason}")
"""


def said(service: Service) -> list[str]:
    return (service.directory / "said").read_text().splitlines()


@pytest.mark.parametrize("preload", ["true", "false"])
def test_a_daemon_calls_hooks_and_a_reload_whose_hooks_fail_has_failed(service: Service, preload: str) -> None:
    directory = service.directory
    service.write(HOOKS, "hooks.py")
    daemon = service.start("--hooks", "hooks", "--workers", "2", "--preload", preload)
    daemon.settle(2)
    assert sorted(said(service)) == ["loaded True"] * (1 if preload == "true" else 2) + ["start 1"] * 2
    (directory / "broken").touch()
    assert not daemon.reload()
    daemon.wait_for_log("did not boot: app.hooks: worker_start of hooks failed: RuntimeError: no database (operation")
    (directory / "broken").unlink()
    service.write(HOOKS + "\ndef worker_strat(): pass\n", "hooks.py")
    assert not daemon.reload()
    daemon.wait_for_log("hooks has a function worker_strat, which is no hook: did you mean worker_start?")
    assert get(daemon).startswith("v1 ")
    service.write(HOOKS, "hooks.py")
    assert daemon.reload()
    daemon.wait(lambda: said(service).count("stop 1 reload") == 2, "the old workers' worker_stop")
    assert daemon.stop() == 0
    assert said(service)[-2:] == ["stop 4 stop"] * 2


def test_a_hook_of_the_launcher_is_shown_while_it_runs(service: Service) -> None:
    held = "\ndef loaded(app):\n    import time\n    while os.path.exists('hold'): time.sleep(0.01)\n"
    service.write(HOOKS + held, "hooks.py")
    path = service.directory / "control.sock"
    daemon = service.start("--hooks", "hooks", "--workers", "1", "--control", str(path))
    control = Control(path)
    assert control.get("/status")["hooks"] == []
    (service.directory / "hold").touch()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: control.get("/status")["hooks"], "the hook is shown")
    (hook,) = control.get("/status")["hooks"]
    assert (hook["name"], hook["slot"], hook["generation"]) == ("loaded", None, 2)
    (service.directory / "hold").unlink()
    daemon.wait_for_log("reload: done")
    assert control.get("/status")["hooks"] == []


def test_pool_single_calls_hooks(service: Service) -> None:
    ends = "import signal\ndef worker_ready(): os.kill(os.getpid(), signal.SIGTERM)\n"
    service.write(HOOKS + ends, "hooks.py")
    done = service.run("--hooks", "hooks", "--pool", "single", "--bind", f"unix:{service.directory}/http.sock")
    assert done.returncode == 0, done.stderr
    assert said(service) == ["loaded True", "start 1", "stop 1 stop"]


def test_check_looks_at_the_hooks(service: Service) -> None:
    service.write(HOOKS + "\ndef worker_strat(): pass\n", "hooks.py")
    check = [sys.executable, "-m", "miniwsgi.daemon", "check", "app", "--chdir", str(service.directory)]
    done = subprocess.run([*check, "--hooks", "hooks"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode
    assert "did you mean worker_start?" in done.stderr
