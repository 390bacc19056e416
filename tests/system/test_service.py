"""miniwsgi.service under a real systemd: start, reload, stop, and what becomes of it when something breaks."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest

from tests.support.load import Load
from tests.support.waiting import PATIENCE_SECONDS

from .installation import UNITS
from .machine import MAIN, Client, Machine


def test_start_waits_until_it_serves(machine: Machine) -> None:
    machine.systemctl("start")
    assert machine.get().startswith("v1 ")
    machine.wait_for_workers(2)
    assert machine.property("miniwsgi.service", "Type") == "notify"
    machine.systemctl("stop")
    assert machine.property("miniwsgi.service", "Result") == "success"
    assert machine.state() == ("inactive", "dead")
    assert not machine.path("/run/miniwsgi/miniwsgi").exists()


def test_a_broken_application_fails_the_start_and_says_why(machine: Machine) -> None:
    machine.drop_in("miniwsgi.service", "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=100ms\n")
    machine.switch("broken", True)
    started = machine.run("systemctl", "start", MAIN)
    assert started.returncode != 0
    machine.wait_for_state("failed", "failed")
    assert machine.messages(MAIN).count("boots app") == 3
    assert "Traceback" in machine.messages(MAIN)
    status = machine.run("systemctl", "status", "--no-pager", "--full", MAIN).stdout
    assert "cannot import app: RuntimeError: the shop is out of order" in status
    machine.switch("broken", False)
    machine.do("systemctl", "reset-failed", MAIN)
    machine.systemctl("start")


def test_a_mistake_in_the_configuration_is_not_tried_again(machine: Machine) -> None:
    machine.configure(rest="[limits]\nbody_maximum = 1\n")
    assert machine.run("systemctl", "start", MAIN).returncode != 0
    assert machine.state() == ("failed", "failed")
    assert machine.restarts() == 0
    assert machine.property("miniwsgi.service", "ExecMainStatus") == "2"
    assert "limits.body_maximum" in machine.run("systemctl", "status", "--no-pager", "--full", MAIN).stdout


def test_an_application_that_the_unit_hides_is_said_to_be_hidden_and_by_which_directive(machine: Machine) -> None:
    machine.do("mkdir", "-p", "/root/shop")
    configured = machine.path(f"/etc/miniwsgi/{MAIN}.toml")
    configured.write_text(configured.read_text("utf-8").replace("/srv/miniwsgi", "/root/shop"), "utf-8")
    machine.drop_in("miniwsgi.service", "[Unit]\nStartLimitBurst=1\n")
    assert machine.run("systemctl", "start", MAIN).returncode != 0
    said = machine.messages(MAIN)
    assert re.search(
        r'app.directory = "/root/shop": .*miniwsgi \(uid \d+\) may not enter /root, .*ProtectHome=', said
    ), said


def test_a_group_for_operators_works_or_fails_the_start_with_the_remedy(machine: Machine) -> None:
    machine.do("groupadd", "--system", "operators")
    machine.configure(rest='[control]\ngroup = "operators"\n')
    machine.drop_in("miniwsgi.service", "[Unit]\nStartLimitBurst=1\n")
    assert machine.run("systemctl", "start", MAIN).returncode != 0
    status = machine.run("systemctl", "status", "--no-pager", "--full", MAIN).stdout
    assert "the unit needs SupplementaryGroups=operators and SystemCallFilter=@chown" in status
    machine.do("systemctl", "reset-failed", MAIN)
    machine.drop_in("miniwsgi.service", (UNITS / "drop-in/miniwsgi.service.d/operators.conf").read_text("utf-8"))
    machine.systemctl("start")
    assert machine.do("stat", "-c", "%U %G %a", "/run/miniwsgi/miniwsgi/control.sock") == "miniwsgi operators 660\n"
    machine.systemctl("reload")


def test_a_daemon_that_serves_without_a_control_api_says_why_to_who_misses_it(machine: Machine) -> None:
    machine.configure(rest='[control]\nsocket = "/run/nowhere/control.sock"\n')
    machine.systemctl("start")
    for command in (("miniwsgictl", "status"), ("systemctl", "reload", MAIN)):
        assert machine.run(*command).returncode != 0
    said = machine.run("miniwsgictl", "status").stderr
    assert f"the daemon runs (miniwsgi, pid {machine.master()}), but has no control API: " in said
    assert "the directory /run/nowhere does not exist" in said


def test_a_reload_puts_new_code_live_without_a_failed_request(machine: Machine) -> None:
    machine.systemctl("start")
    master = machine.master()
    with Load(machine.address(), connections=8) as load:
        machine.wait(lambda: load.report.answered > 100, "the load runs")
        for version in ("v2", "v3"):
            machine.version(version)
            machine.systemctl("reload")
            assert machine.get().startswith(f"{version} ")
        report = load.stop()
    print(f"two reloads: {report}")
    assert not report.lost, str(report)
    assert report.order() == ["v1", "v2", "v3"]
    assert machine.master() == master
    assert machine.messages(MAIN).count("reload is asked for by systemd (") == 2, "not by the service's user"


def test_a_broken_reload_fails_and_the_old_code_serves_on(machine: Machine) -> None:
    machine.systemctl("start")
    machine.switch("broken", True)
    machine.version("v2")
    reloaded = machine.run("systemctl", "reload", MAIN)
    assert reloaded.returncode != 0
    assert machine.get().startswith("v1 ")
    assert machine.state() == ("active", "running")
    machine.wait_for_workers(2)
    assert "the last reload failed: cannot import app" in machine.property("miniwsgi.service", "StatusText")
    assert "the shop is out of order" in machine.messages(MAIN)
    machine.switch("broken", False)
    machine.systemctl("reload")
    assert machine.get().startswith("v2 ")
    assert "failed" not in machine.property("miniwsgi.service", "StatusText")


def test_a_reload_may_take_longer_than_the_start_timeout(machine: Machine) -> None:
    limit_seconds = 4
    machine.drop_in("miniwsgi.service", f"[Service]\nTimeoutStartSec={limit_seconds}\n")
    machine.systemctl("start")
    machine.switch("held-imports", True)
    machine.version("v2")
    begun = time.monotonic()
    reload = machine.begin("systemctl", "reload", MAIN)
    machine.wait_for_state("reloading", "reload")
    machine.wait(lambda: time.monotonic() > begun + 1.3 * limit_seconds or reload.poll() is not None, "time goes by")
    assert reload.poll() is None, "the reload was given up"
    assert "reload" in machine.property("miniwsgi.service", "StatusText")
    machine.switch("held-imports", False)
    assert reload.wait(PATIENCE_SECONDS) == 0
    assert machine.get().startswith("v2 ")


def test_a_boot_and_a_stop_may_take_longer_than_their_timeouts(machine: Machine) -> None:
    machine.configure(rest='[timeouts]\ngraceful = "5m"\n')
    limit_seconds = 4
    machine.drop_in("miniwsgi.service", f"[Service]\nTimeoutSec={limit_seconds}\n")

    def outlast(job: subprocess.Popen[bytes], what: str) -> None:
        begun = time.monotonic()
        machine.wait(lambda: time.monotonic() > begun + 1.3 * limit_seconds or job.poll() is not None, "time goes by")
        assert job.poll() is None, f"the {what} was given up"

    machine.switch("held-imports", True)
    start = machine.begin("systemctl", "start", MAIN)
    outlast(start, "start")
    machine.switch("held-imports", False)
    assert start.wait(PATIENCE_SECONDS) == 0
    machine.switch("held", True)
    running = Client(machine.address(), "/hold")
    machine.wait(lambda: machine.begun() == 1, "a request runs")
    stop = machine.begin("systemctl", "stop", MAIN)
    outlast(stop, "stop")
    machine.switch("held", False)
    assert running.answer.startswith("v1 ")
    assert stop.wait(PATIENCE_SECONDS) == 0
    assert machine.property("miniwsgi.service", "Result") == "success"


def test_the_hang_up_signal_reloads(machine: Machine) -> None:
    machine.systemctl("start")
    machine.version("v2")
    machine.do("systemctl", "kill", "--signal=HUP", "--kill-who=main", MAIN)
    machine.wait(lambda: machine.get().startswith("v2 "), "the new code serves")
    # To every process of the service, workers included.
    machine.version("v3")
    machine.do("systemctl", "kill", "--signal=HUP", MAIN)
    machine.wait(lambda: machine.get().startswith("v3 "), "the new code serves")
    machine.wait_for_state("active", "running")
    assert machine.restarts() == 0


def test_a_stop_answers_what_runs_and_what_waits(machine: Machine) -> None:
    machine.configure(workers=1)
    machine.systemctl("start")
    machine.switch("held", True)
    running = [Client(machine.address(), "/hold") for _ in range(4)]
    machine.wait(lambda: machine.begun() == 4, "all threads are busy")
    waiting = [Client(machine.address(), "/") for _ in range(12)]
    machine.wait(lambda: all(client.sent.is_set() for client in waiting), "further clients have sent their requests")
    stop = machine.begin("systemctl", "stop", MAIN)
    machine.wait(lambda: machine.state()[0] == "deactivating", "it stops")
    machine.switch("held", False)
    answers = [client.answer for client in (*running, *waiting)]
    assert all(answer.startswith("v1 ") for answer in answers), answers
    assert stop.wait(PATIENCE_SECONDS) == 0
    assert machine.property("miniwsgi.service", "Result") == "success"


def test_a_master_that_does_not_turn_is_restarted_by_the_watchdog(machine: Machine) -> None:
    machine.drop_in("miniwsgi.service", "[Service]\nWatchdogSec=5\n")
    machine.systemctl("start")
    master = machine.master()
    # READY=1 came with EXTEND_TIMEOUT_USEC=, which counts for the watchdog too, until the next sign of life.
    seen = machine.property("miniwsgi.service", "WatchdogTimestampMonotonic")
    machine.wait(
        lambda: machine.property("miniwsgi.service", "WatchdogTimestampMonotonic") != seen, "there is a sign of life"
    )
    machine.do("kill", f"-{signal.SIGSTOP.value}", str(master))
    machine.wait(lambda: machine.restarts() == 1 and machine.state() == ("active", "running"), "it was restarted")
    assert machine.master() != master
    assert machine.get().startswith("v1 ")
    assert "watchdog" in machine.messages(MAIN).lower()


def test_a_killed_worker_is_replaced_within_the_service(machine: Machine) -> None:
    machine.systemctl("start")
    worker = int(machine.get().split()[1])
    machine.do("kill", f"-{signal.SIGKILL.value}", str(worker))
    machine.wait(lambda: machine.metric('miniwsgi_worker_exits_total{reason="crash"}') == 1, "its exit is counted")
    machine.wait_for_workers(2)
    assert machine.restarts() == 0


@pytest.mark.parametrize("what", ["running", "failed"])
def test_nothing_is_left_after_a_stop(machine: Machine, what: str) -> None:
    machine.systemctl("start")
    if what == "failed":
        machine.drop_in("miniwsgi.service", "[Service]\nRestart=no\n")
        machine.do("systemctl", "kill", "--signal=KILL", MAIN)
        machine.wait_for_state("failed", "failed")
    else:
        machine.systemctl("stop")
    assert not machine.path("/run/miniwsgi/miniwsgi").exists()
    assert "miniwsgi" not in machine.do("ps", "-A", "-o", "comm=,user:32=")
