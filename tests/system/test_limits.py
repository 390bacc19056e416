"""What the kernel does to a service that has limits, and what the drop-ins to copy give it."""

from __future__ import annotations

import json
import shutil

import pytest

from .installation import PLACE, UNITS
from .machine import SYSTEMD_SOCKET, Machine

PROBE_OVER_TCP = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:80/?token=tcp").read().decode())
"""


def controllers(machine: Machine) -> set[str]:
    """What systemd can limit here."""
    unified = machine.path("/sys/fs/cgroup/cgroup.controllers")  # there, it is the only hierarchy
    if unified.exists():
        return set(unified.read_text("ascii").split())
    lines = machine.path("/proc/1/cgroup").read_text("ascii").splitlines()
    return {name for line in lines for name in line.split(":")[1].split(",")}


def test_a_worker_without_memory_is_replaced_and_the_service_stays(machine: Machine) -> None:
    if "memory" not in controllers(machine):
        pytest.skip("this machine hands on no memory controller")
    machine.drop_in("miniwsgi.service", "[Service]\nMemoryMax=300M\nMemorySwapMax=0\n")
    machine.systemctl("start")
    master = machine.master()
    with pytest.raises((OSError, EOFError)):
        machine.get("/eat")
    machine.wait(lambda: machine.metric('miniwsgi_worker_exits_total{reason="oom"}') == 1, "its reason is told")
    machine.wait_for_workers(2)
    (crash,) = json.loads(machine.ctl("crashes", "-o", "json"))["crashes"]
    assert (crash["kind"], crash["what"]) == ("oom", "was killed by SIGKILL (out of memory)")
    assert [(one["path"], one["status"]) for one in crash["requests"]] == [("/eat", 502)]
    assert machine.get().startswith("v1 ")
    assert (machine.master(), machine.restarts()) == (master, 0)
    assert machine.state() == ("active", "running")


def test_workers_follow_the_processors_of_the_service(machine: Machine) -> None:
    if "cpu" not in controllers(machine):
        pytest.skip("this machine hands on no cpu controller")
    config = machine.path("/etc/miniwsgi/miniwsgi.toml")
    machine.write(config, config.read_text("utf-8").replace("workers = 2\n", ""))
    machine.drop_in("miniwsgi.service", "[Service]\nCPUQuota=100%\n")
    machine.systemctl("start")
    machine.wait_for_workers(1)


def copy_drop_in(machine: Machine, name: str) -> None:
    target = machine.path(f"/etc/systemd/system/{name}")
    target.parent.mkdir()
    shutil.copy(UNITS / "drop-in" / name, target)
    machine.do("systemctl", "daemon-reload")


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_a_drop_in_gives_port_80(machine: Machine, kind: str) -> None:
    copy_drop_in(machine, f"miniwsgi.{kind}.d/port-80.conf")
    machine.configure(bind="127.0.0.1:80" if kind == "service" else SYSTEMD_SOCKET)
    if kind == "socket":
        machine.do("systemctl", "start", "miniwsgi.socket")
    machine.systemctl("start")
    assert machine.do(f"{PLACE}/bin/python3", "-c", PROBE_OVER_TCP).split()[2] == "tcp"


def test_a_drop_in_gives_a_user_for_the_run(machine: Machine) -> None:
    copy_drop_in(machine, "miniwsgi.service.d/dynamic-user.conf")
    machine.systemctl("start")
    assert machine.attempt("import getpass; result = getpass.getuser()") == "miniwsgi-dynamic"
    machine.version("v2")
    machine.systemctl("reload")
    assert machine.get().startswith("v2 ")
    machine.ctl("ping")
    machine.systemctl("restart")
    assert machine.get().startswith("v2 ")
