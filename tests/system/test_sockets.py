"""Listeners outlast the daemon: those of a socket unit, and its own in the file-descriptor store."""

from __future__ import annotations

import signal

from tests.support.load import Load
from tests.support.waiting import PATIENCE_SECONDS

from .machine import MAIN, OWN_SOCKET, SYSTEMD_SOCKET, Client, Machine


def test_restarts_under_load_with_the_socket_unit_lose_nothing(machine: Machine) -> None:
    machine.configure(bind=SYSTEMD_SOCKET)
    machine.do("systemctl", "start", "miniwsgi.socket")
    _restart_under_load(machine, SYSTEMD_SOCKET)


def test_restarts_under_load_without_a_socket_unit_lose_nothing(machine: Machine) -> None:
    _restart_under_load(machine, OWN_SOCKET)


def _restart_under_load(machine: Machine, bind: str) -> None:
    machine.systemctl("start")
    with Load(machine.address(bind=bind), connections=8) as load:
        for version in ("v2", "v3"):
            answered = load.report.answered
            machine.wait(lambda answered=answered: load.report.answered > answered + 1000, "the load runs")  # type: ignore[misc]
            machine.version(version)
            machine.systemctl("restart")
            assert machine.get(bind=bind).startswith(f"{version} ")
        report = load.stop()
    print(f"two restarts, bind = {bind}: {report}")
    assert not report.lost, str(report)
    assert report.order() == ["v1", "v2", "v3"]
    assert report.answered > 2000


def test_a_killed_master_is_back_and_who_waits_is_answered(machine: Machine) -> None:
    machine.configure(bind=SYSTEMD_SOCKET)
    machine.do("systemctl", "start", "miniwsgi.socket")
    _kill(machine, SYSTEMD_SOCKET)


def test_listeners_queues_and_counters_outlast_a_killed_master(machine: Machine) -> None:
    counted = _kill(machine, OWN_SOCKET)
    assert machine.metric(SERVED) > counted


SERVED = "miniwsgi_connections_accepted_total"


def _kill(machine: Machine, bind: str) -> float:
    """Kill the master while nobody serves; how many requests were counted before."""
    machine.drop_in("miniwsgi.service", "[Service]\nRestartSec=2\n")
    machine.systemctl("start")
    machine.get(bind=bind)
    machine.wait(lambda: machine.metric(SERVED) >= 1, "requests are counted")
    counted, master = machine.metric(SERVED), machine.master()
    socket_file = machine.path("/run/miniwsgi/miniwsgi.sock" if bind == SYSTEMD_SOCKET else bind_path(bind))
    inode = socket_file.stat().st_ino
    machine.do("kill", f"-{signal.SIGKILL.value}", str(master))
    machine.wait(lambda: machine.state()[1] == "auto-restart", "the service is down")
    waiting = [Client(machine.address(bind=bind), "/") for _ in range(20)]
    assert not [client.answer for client in waiting if not client.answer.startswith("v1 ")]
    machine.wait_for_state("active", "running")
    assert machine.restarts() == 1
    assert machine.master() not in {0, master}
    assert socket_file.stat().st_ino == inode
    return counted


def bind_path(bind: str) -> str:
    return bind.removeprefix("unix:").format(name=MAIN)


def test_the_number_of_workers_outlasts_a_restart_and_a_crash(machine: Machine) -> None:
    machine.systemctl("start")
    machine.ctl("scale", "3")
    machine.systemctl("restart")
    machine.wait_for_workers(3)
    machine.do("kill", f"-{signal.SIGKILL.value}", str(machine.master()))
    machine.wait(lambda: machine.restarts() == 1 and machine.state() == ("active", "running"), "it is back")
    machine.wait_for_workers(3)
    # Whoever stops it for good begins anew.
    machine.systemctl("stop")
    machine.systemctl("start")
    machine.wait_for_workers(2)


def test_a_stop_for_good_empties_the_store(machine: Machine) -> None:
    machine.systemctl("start")
    machine.wait(lambda: int(machine.property("miniwsgi.service", "NFileDescriptorStore")) >= 2, "it is stored")
    machine.systemctl("restart")
    assert int(machine.property("miniwsgi.service", "NFileDescriptorStore")) >= 2
    machine.systemctl("stop")
    assert machine.property("miniwsgi.service", "NFileDescriptorStore") == "0"
    assert not machine.path("/run/miniwsgi/miniwsgi").exists()
    machine.systemctl("start")
    assert machine.get().startswith("v1 ")


def test_a_broken_application_does_not_close_its_socket_for_good(machine: Machine) -> None:
    """A service that reached its start limit takes its socket unit down; an enabled one comes back with the service."""
    machine.configure(bind=SYSTEMD_SOCKET)
    machine.drop_in("miniwsgi.service", "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=100ms\n")
    machine.do("systemctl", "enable", "--now", "miniwsgi.socket")
    machine.switch("broken", True)
    client = Client(machine.address(bind=SYSTEMD_SOCKET), "/")
    machine.wait_for_state("failed", "failed")
    client.join()
    machine.switch("broken", False)
    machine.do("systemctl", "reset-failed", MAIN)
    machine.systemctl("start")
    assert machine.get(bind=SYSTEMD_SOCKET).startswith("v1 ")


def test_the_control_socket_may_be_systemds(machine: Machine) -> None:
    machine.application("shop")
    machine.configure("shop")
    machine.do("systemctl", "start", "miniwsgi-control@shop.socket")
    asking = machine.begin("miniwsgictl", "--instance", "shop", "ping")  # starts the service
    machine.wait_for_state("active", "running", "shop")
    asking.wait(PATIENCE_SECONDS)
    machine.ctl("--instance", "shop", "ping")
    assert not machine.path("/run/miniwsgi/shop/control.sock").exists()
    machine.version("v2", "shop")
    machine.systemctl("reload", "shop")
    assert machine.get(name="shop").startswith("v2 ")
    machine.systemctl("stop", "shop")
    assert machine.path("/run/miniwsgi/shop.control").is_socket()
