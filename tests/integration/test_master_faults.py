"""What is done to a running daemon by crashes, kills, wedges and readers that do not read, and what is left of it."""

from __future__ import annotations

import http.client
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.control import Control
from tests.support.daemon import ALONE, Daemon, is_alive
from tests.support.ports import free_port
from tests.support.service import HELLO, Service, get
from tests.support.waiting import PATIENCE_SECONDS, wait_for


def in_background(daemon: Daemon, path: str) -> tuple[threading.Thread, list[str]]:
    """A request that runs; its answer, or what went wrong, once the thread has ended."""
    answers: list[str] = []

    def ask() -> None:
        try:
            answers.append(get(daemon, path, PATIENCE_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            answers.append(type(error).__name__)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


# --- killed ----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_in_its_slot_and_its_request_is_in_the_access_log(
    service: Service, tmp_path: Path
) -> None:
    access = tmp_path / "access.log"
    daemon = service.start("--workers", "1", "--access-log", str(access))
    (victim,) = daemon.workers()
    service.hold()
    thread, answers = in_background(daemon, "/hold")
    daemon.wait(service.has_begun, "a request that runs")
    os.kill(victim, signal.SIGKILL)
    thread.join(PATIENCE_SECONDS)
    assert answers == ["RemoteDisconnected"]
    daemon.wait(lambda: len(daemon.workers()) == 1 and victim not in daemon.workers(), "a new worker")
    assert get(daemon).startswith("v1 ")
    said = rf"worker 0 \(pid {victim}\) was killed by SIGKILL( \(out of memory\?\))? while it ran GET /hold \(request"
    daemon.wait(lambda: re.search(said, daemon.log()), said)
    daemon.wait(lambda: access.exists() and '"GET /hold' in access.read_text(), "the lost request in the access log")
    (line,) = [line for line in access.read_text().splitlines() if "/hold" in line]
    assert " 502 " in line


def test_the_launcher_is_killed_and_the_workers_serve_on(service: Service) -> None:
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    (launcher,) = daemon.launchers()
    before = set(daemon.workers())
    service.hold()
    thread, answers = in_background(daemon, "/hold")
    daemon.wait(service.has_begun, "a request that runs")
    os.kill(launcher, signal.SIGKILL)
    assert get(daemon).startswith("v1 ")
    daemon.wait_for_log("recover: done")
    service.release()
    daemon.wait(lambda: len(daemon.workers()) == 2 and not before & set(daemon.workers()), "new workers")
    thread.join(PATIENCE_SECONDS)
    assert answers[0].startswith("v1 "), "what ran was finished by the orphan"
    daemon.wait_for_log("its workers serve on")


def test_the_launcher_is_killed_while_broken_code_lies_on_disk(service: Service) -> None:
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    before = set(daemon.workers())
    service.write("broken(")
    (launcher,) = daemon.launchers()
    os.kill(launcher, signal.SIGKILL)
    daemon.wait_for_log("recover failed", times=4)
    assert daemon.log().count("Traceback") <= 1
    daemon.wait(lambda: set(daemon.workers()) == before, "the orphans, and nobody else")
    assert get(daemon).startswith("v1 ")
    victim = daemon.workers()[0]
    os.kill(victim, signal.SIGKILL)  # an orphan: the master reaps it
    daemon.wait_for_log(f"(pid {victim}) was killed by SIGKILL")
    assert get(daemon).startswith("v1 ")
    service.write(HELLO.replace("v1", "v2"))
    daemon.wait_for_log("recover: done")
    daemon.settle(2)
    daemon.wait(lambda: get(daemon).startswith("v2 "), "the new code")


@pytest.mark.parametrize("busy", [False, True])
def test_the_master_is_killed_and_nothing_is_left(service: Service, busy: bool) -> None:
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    processes = daemon.processes()
    if busy:
        service.hold()
        thread, answers = in_background(daemon, "/hold")
        daemon.wait(service.has_begun, "a request that runs")
    daemon.process.kill()
    daemon.process.wait()
    service.release()
    daemon.wait(lambda: not any(is_alive(process) for process in processes), "nothing is left")
    if busy:
        thread.join(PATIENCE_SECONDS)
        assert answers[0].startswith("v1 "), "what ran was finished"


def test_the_master_is_killed_with_a_worker_that_does_not_end_by_itself(service: Service) -> None:
    service.write(HELLO + "\nimport signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n")
    config = service.configure("[server]\nworkers = 1\n[timeouts]\ngraceful = 1\n")
    daemon = service.start("-c", config)
    processes = daemon.processes()
    service.hold()
    thread, _answers = in_background(daemon, "/hold")
    daemon.wait(service.has_begun, "a request that runs")
    daemon.process.kill()
    daemon.process.wait()
    daemon.wait(lambda: not any(is_alive(process) for process in processes), "nothing is left")
    thread.join(PATIENCE_SECONDS)


def test_master_and_launcher_are_killed_at_once(service: Service) -> None:
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    processes = daemon.processes()
    os.kill(daemon.launchers()[0], signal.SIGKILL)
    daemon.process.kill()
    daemon.process.wait()
    daemon.wait(lambda: not any(is_alive(process) for process in processes), "nothing is left")


def test_an_application_that_crashes_again_and_again_is_backed_off_and_the_master_stays(service: Service) -> None:
    daemon = service.start("--workers", "1")
    for crashes in range(1, 5):
        daemon.settle(1)
        with pytest.raises((OSError, http.client.HTTPException)):
            get(daemon, "/exit?7")
        daemon.wait_for_log("exited with status 7 while it ran GET /exit", crashes)
    delays = [float(seconds) for seconds in re.findall(r"with status 7 .*; the next one in ([\d.]+) s", daemon.log())]
    # Each is twice the last, or the first again after a worker that lived for seconds: the machine may be that slow.
    assert delays[0] == 0.1
    assert all(after in {2 * before, 0.1} for before, after in itertools.pairwise(delays)), delays
    daemon.wait(lambda: get_or_none(daemon) is not None, "it serves again")


def get_or_none(daemon: Daemon) -> str | None:
    try:
        return get(daemon)
    except (OSError, http.client.HTTPException):
        return None


# --- stuck -----------------------------------------------------------------------------------------------------------

STUCK = """
import ctypes, os

def application(environ, start_response):
    while environ["PATH_INFO"] == "/stuck":
        ctypes.PyDLL(None).sleep(1000)  # in C, holding the interpreter's lock
    start_response("200 OK", [])
    return [b"v1 " + str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("pool", ["epoll", "prefork"])
def test_a_worker_wedged_in_c_code_is_shown_killed_and_replaced(service: Service, tmp_path: Path, pool: str) -> None:
    service.write(STUCK)
    access = tmp_path / "access.log"
    config = service.configure(
        f"[server]\nworkers = 2\npool = '{pool}'\n[timeouts]\nwedge = 1.5\n[log]\naccess_log = '{access}'\n"
    )
    daemon = service.start("-c", config, "--control", str(tmp_path / "c"))
    daemon.settle(2)
    thread, answers = in_background(daemon, "/stuck")
    daemon.wait_for_log("is wedged: its loop has not turned for")
    daemon.wait_for_log('app.py", line 6 in application')
    thread.join(PATIENCE_SECONDS)
    assert answers == ["RemoteDisconnected"]
    daemon.settle(2)
    assert get(daemon).startswith("v1 ")
    daemon.wait(lambda: access.exists() and '"GET /stuck' in access.read_text(), "its line in the access log")
    (line,) = [line for line in access.read_text().splitlines() if "/stuck" in line]
    assert " 504 " in line
    kept = [one for one in Control(tmp_path / "c").get("/crashes")["crashes"] if one["requests"]]
    ((crash, (request,)),) = [(one, one["requests"]) for one in kept]
    assert crash["kind"] == "wedge"
    assert crash["what"].startswith("was wedged, and killed: its loop had not turned for ")
    assert (request["path"], request["status"], crash["culprit_known"]) == ("/stuck", 504, True)
    assert request["where"].endswith("app.py:6 in application")
    assert "in application" in crash["stacks"]


def test_a_stopped_worker_counts_as_wedged_and_the_log_says_that_it_is_stopped(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 2\n[timeouts]\nwedge = 1\n"))
    daemon.settle(2)
    victim = daemon.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    daemon.wait_for_log("its state is T (stopped)")
    daemon.wait(lambda: victim not in daemon.workers() and len(daemon.workers()) == 2, "a new worker")


def test_a_request_beyond_its_time_is_answered_504_and_its_worker_replaced(service: Service, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    config = service.configure(
        f"[server]\nworkers = 1\n[timeouts]\nrequest = 0.5\ngraceful = 1\n[log]\naccess_log = '{access}'\n"
    )
    daemon = service.start("-c", config, "--control", str(tmp_path / "c"))
    (victim,) = daemon.workers()
    assert get(daemon, "/sleep?1000").startswith("504 ")
    daemon.wait_for_log("(timeouts.request); its threads:")
    daemon.wait_for_log('app.py", line 6 in application')
    daemon.wait(lambda: len(daemon.workers()) == 1 and victim not in daemon.workers(), "a new worker")
    assert get(daemon).startswith("v1 ")
    daemon.wait(lambda: access.read_text().count("/sleep") >= 1, "its line in the access log")
    assert access.read_text().count("/sleep") == 1, "one line, by the worker, and none by the master"
    (crash,) = Control(tmp_path / "c").get("/crashes")["crashes"]
    assert (crash["kind"], crash["what"]) == ("timeout", "a request exceeded timeouts.request")
    assert (crash["requests"][0]["path"], crash["requests"][0]["status"]) == ("/sleep", 504)
    assert crash["requests"][0]["where"].endswith("app.py:6 in application")


def test_a_launcher_that_does_not_answer_is_killed_and_replaced(service: Service) -> None:
    daemon = service.start("--workers", "1")
    (launcher,) = daemon.launchers()
    os.kill(launcher, signal.SIGSTOP)
    (victim,) = daemon.workers()
    os.kill(victim, signal.SIGKILL)
    daemon.wait_for_log(f"has not reaped worker 0 (pid {victim})")
    daemon.wait(lambda: daemon.launchers() and daemon.launchers() != [launcher], "a new launcher")
    daemon.wait(lambda: get_or_none(daemon) is not None, "it serves again")


# --- who does not read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noisy_at", ["import", "request"])
def test_a_log_that_nobody_reads_holds_nobody_up(service: Service, noisy_at: str) -> None:
    service.write(
        f"""
        import logging, os, sys
        logging.basicConfig(level="INFO")  # takes hold of sys.stderr while it is imported
        def noise():
            for number in range(5000):
                print("x" * 100)
                logging.info("y" * 100)
        if {noisy_at!r} == "import":
            noise()
        def application(environ, start_response):
            if {noisy_at!r} == "request":
                noise()
            start_response("200 OK", [])
            return [b"v1"]
        """
    )
    port = free_port()
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "miniwsgi.daemon", "serve", "app", "--bind", f"127.0.0.1:{port}", "--workers", "2"],
        cwd=service.directory,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env={**os.environ, **ALONE},
    )
    os.close(writer)
    daemon = type("Addressed", (), {"address": ("127.0.0.1", port)})()
    try:
        wait_for(lambda: get_or_none(daemon), "it serves")
        for _ in range(3):
            assert get(daemon) == "v1"
        before = {child.pid for child in psutil.Process(process.pid).children()}
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: {child.pid for child in psutil.Process(process.pid).children()} - before, "a new launcher")
        assert get(daemon) == "v1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


# --- what the application leaves -------------------------------------------------------------------------------------


def test_what_the_application_left_running_ends_with_the_daemon(service: Service, tmp_path: Path) -> None:
    service.write(
        """
        import os, signal, subprocess, time
        if os.fork() == 0:
            if os.fork() == 0:  # a daemon of its own, whose parent is gone
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.setsid()
                time.sleep(1000)
            os._exit(0)
        os.wait()
        helper = subprocess.Popen(["sleep", "1000"])
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"v1"]
        """
    )
    daemon = service.start("--workers", "1", "--preload", "true")  # auto would end the helper and import again
    daemon.wait(lambda: len(daemon.processes()) == 5, "master, launcher, worker, sleep and the daemon")
    processes = daemon.processes()
    assert daemon.stop() == 0
    assert not [process for process in processes if is_alive(process)]
    assert "killed processes that were still running" in daemon.log()


def test_children_of_the_application_that_end_leave_no_zombies(service: Service) -> None:
    service.write(
        """
        import subprocess
        helper = subprocess.Popen(["true"])
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"v1"]
        """
    )
    # With auto it might run still, and would then be a child of each worker that imports anew.
    daemon = service.start("--workers", "1", "--preload", "true")
    daemon.wait(lambda: not zombies(daemon), "no zombies")


def zombies(daemon: Daemon) -> list[psutil.Process]:
    """Its descendants that nobody has reaped yet."""
    found = []
    for child in psutil.Process(daemon.process.pid).children(recursive=True):
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass  # reaped between two looks
    return found


# --- signals to all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN])
def test_a_signal_to_the_whole_group_is_the_masters_alone(service: Service, number: signal.Signals) -> None:
    daemon = service.start("--workers", "2")
    daemon.settle(2)
    os.killpg(daemon.process.pid, number)
    done = {signal.SIGHUP: "reload: done", signal.SIGUSR1: "opened again", signal.SIGTTIN: "scale to 3 workers: done"}
    daemon.wait_for_log(done[number])
    assert get(daemon).startswith("v1 ")
    assert "was killed" not in daemon.log()


def test_ctrl_c_in_a_terminal_is_a_graceful_stop(service: Service) -> None:
    daemon = service.start("--workers", "2")
    service.hold()
    thread, answers = in_background(daemon, "/hold")
    daemon.wait(service.has_begun, "a request that runs")
    os.killpg(daemon.process.pid, signal.SIGINT)
    daemon.wait_for_log("stop is asked for")
    service.release()
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    thread.join()
    assert answers[0].startswith("v1 ")


def signal_masks(status: str) -> dict[str, int]:
    """SigBlk and SigIgn of /proc/PID/status."""
    pairs = (line.split(":\t") for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn")))
    return {name: int(value, 16) for name, value in pairs}


# What ran the tests may ignore signals itself; Python ignores these two, and lets subprocesses have them again.
PYTHON_IGNORES = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
INHERITED_IGNORED = signal_masks(Path("/proc/self/status").read_text())["SigIgn"] & ~PYTHON_IGNORES


def test_programs_that_the_application_starts_have_the_default_signals(service: Service) -> None:
    service.write(
        """
        import subprocess
        def application(environ, start_response):
            text = subprocess.check_output(["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"])
            start_response("200 OK", [])
            return [text]
        """
    )
    daemon = service.start("--workers", "1")
    assert signal_masks(get(daemon)) == {"SigBlk": 0, "SigIgn": INHERITED_IGNORED}
