"""What the units forbid is refused to the application, and what frameworks need is not."""

from __future__ import annotations

import json
import re
import threading

import pytest

from tests.support.shops import APPS, SHOPS, Shop

from .machine import Machine, ask

DENIED = "PermissionError 1"  # EPERM
NO_ACCESS = "PermissionError 13"  # EACCES
READ_ONLY = "OSError 30"
CALL = """
import ctypes
library = ctypes.CDLL(None, use_errno=True)
if library.{call} == -1:
    raise OSError(ctypes.get_errno(), "{call}")
result = "done"
"""
HELD = """
import os, time
place = os.environ["STATE_DIRECTORY"]
open(place + "/held", "w").close()
while not os.path.exists(place + "/enough"):
    time.sleep(0.01)
"""
STATUS = "result = dict(line.split(':\\t', 1) for line in open('/proc/self/status')).get('{name}', '').strip()"
CGROUPS_ARE_READ_ONLY = """
import os
[place, *_] = [path for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(path + "/cgroup.procs")]
result = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
"""

# What it tries, and what becomes of that under the unit, by the directive that decides it.
TRIED = {
    "ProtectSystem": ("open('/usr/open-to-all', 'w')", READ_ONLY),
    "ProtectSystem (/etc)": ("open('/etc/open-to-all', 'w')", READ_ONLY),
    "ProtectSystem (/srv)": ("open('/srv/open-to-all', 'w')", READ_ONLY),
    "ProtectHome": ("import os; os.listdir('/home')", NO_ACCESS),
    "ProtectHome (/root)": ("import os; os.listdir('/root')", NO_ACCESS),
    "PrivateTmp": ("import os; result = os.path.exists('/tmp/of-others')", "False"),
    "PrivateDevices": ("import os; result = os.path.exists('/dev/of-others')", "False"),
    "NoNewPrivileges": (STATUS.format(name="NoNewPrivs"), "1"),
    "CapabilityBoundingSet": (STATUS.format(name="CapBnd"), "0000000000000000"),
    "RestrictSUIDSGID": ("import os, tempfile; os.chmod(tempfile.mkstemp()[1], 0o4755)", DENIED),
    "RestrictNamespaces": (CALL.format(call="unshare(0x10000000)"), DENIED),
    "RestrictAddressFamilies": ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "OSError 97"),
    "MemoryDenyWriteExecute": (  # EPERM of a filter, or EACCES of the kernel itself (PR_SET_MDWE)
        "import mmap\ntry: mmap.mmap(-1, 4096, prot=7)\nexcept PermissionError: raise PermissionError(1, '') from None",
        DENIED,
    ),
    "LockPersonality": (CALL.format(call="personality(8)"), DENIED),
    "SystemCallFilter (@privileged)": ("import os; os.chown('/tmp', -1, -1)", DENIED),
    "SystemCallFilter (@resources)": ("import os; os.sched_setaffinity(0, os.sched_getaffinity(0))", DENIED),
    "ProtectKernelLogs": ("import os; result = os.path.exists('/dev/kmsg')", "False"),
    "ProtectControlGroups": (CGROUPS_ARE_READ_ONLY, "True"),
    "ProtectHostname": ("import socket; socket.sethostname('other')", DENIED),
    "ProtectProc": ("import os; os.stat('/proc/1')", "FileNotFoundError 2"),
    "UMask": ("import os, tempfile; open('/tmp/made', 'w'); result = oct(os.stat('/tmp/made').st_mode)", "0o100600"),
    "User": ("import getpass; result = getpass.getuser()", "miniwsgi"),
}
WITHOUT = """[Service]
User=root
Group=root
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
PrivateDevices=no
PrivateMounts=no
NoNewPrivileges=no
CapabilityBoundingSet=~
RestrictSUIDSGID=no
RestrictNamespaces=no
RestrictAddressFamilies=
MemoryDenyWriteExecute=no
LockPersonality=no
SystemCallFilter=
ProtectClock=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectControlGroups=no
ProtectHostname=no
ProtectProc=default
UMask=0022
"""
REFUSED_BY_THE_LAB = {"ProtectKernelLogs"}


def attempts(machine: Machine) -> dict[str, str]:
    return {directive: machine.attempt(code) for directive, (code, _outcome) in TRIED.items()}


def prepare(machine: Machine) -> None:
    for place in ("/usr/open-to-all", "/etc/open-to-all", "/srv/open-to-all", "/dev/of-others", "/tmp/of-others"):
        machine.path(place).touch()
        machine.path(place).chmod(0o666)


def look_into_a_worker(machine: Machine) -> None:
    held = threading.Thread(target=machine.attempt, args=(HELD,))
    held.start()
    try:
        machine.wait(machine.path("/var/lib/miniwsgi/miniwsgi/held").exists, "a request is held")
        profile = machine.ctl("profile", "--seconds", "0.3", "--format", "collapsed", "--file", "-")
    finally:
        machine.path("/var/lib/miniwsgi/miniwsgi/enough").touch()
        held.join()
    assert re.search("^requests;.*attempt ", profile, re.MULTILINE), profile
    assert "still held" in machine.ctl("memory", "0", "--for", "100ms", "--pause", "5s")


def test_the_application_is_refused_what_the_unit_forbids(machine: Machine) -> None:
    prepare(machine)
    machine.systemctl("start")
    assert attempts(machine) == {directive: outcome for directive, (_code, outcome) in TRIED.items()}
    # PrivateMounts, PrivateTmp
    mounts = "/proc/{}/ns/mnt"
    mine = machine.attempt(f"import os; result = os.readlink('{mounts.format('self')}')")
    assert mine.startswith("mnt:[")
    assert mine != machine.do("readlink", mounts.format(1)).strip()
    assert not machine.path("/tmp/made").exists()
    for variable in ("STATE_DIRECTORY", "LOGS_DIRECTORY", "RUNTIME_DIRECTORY"):
        code = f"import os; open(os.environ['{variable}'] + '/mine', 'w'); result = 'written'"
        assert machine.attempt(code) == "written", variable
    look_into_a_worker(machine)  # takes no ptrace, which is forbidden, too


def test_without_the_hardening_all_of_that_is_possible(machine: Machine) -> None:
    """It is the unit that forbids it: not the lab, and not a mistake in the attempt."""
    prepare(machine)
    machine.drop_in("miniwsgi.service", WITHOUT)
    machine.systemctl("start")
    found = attempts(machine)
    assert {name for name, (_code, outcome) in TRIED.items() if found[name] == outcome} <= REFUSED_BY_THE_LAB


@pytest.mark.parametrize("shop", SHOPS, ids=lambda shop: shop.name)
def test_a_framework_works_under_the_hardening(machine: Machine, shop: Shop) -> None:
    machine.application("shop", folder=APPS / shop.folder)
    machine.configure("shop", module=shop.module)
    machine.systemctl("start", "shop")
    assert machine.get("/?token=abc", "shop").split()[::2] == ["v1", "abc"]
    basket = ask(machine.address("shop"), "POST", "/basket", json.dumps({"items": [1, 2]}).encode())
    assert json.loads(basket) == {"items": 2}
