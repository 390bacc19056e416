"""miniwsgi@NAME.service: several applications on one machine, apart from each other."""

from __future__ import annotations

from .machine import MAIN, Machine


def test_instances_do_not_touch_each_other(machine: Machine) -> None:
    for name in ("shop", "blog"):
        machine.application(name)
        machine.configure(name, workers=1)
        machine.systemctl("start", name)
    machine.systemctl("start")
    names = ("shop", "blog", MAIN)
    users = {name: machine.attempt("import getpass; result = getpass.getuser()", name) for name in names}
    assert users == {"shop": "miniwsgi-shop", "blog": "miniwsgi-blog", MAIN: "miniwsgi"}
    for name in names:
        owner = machine.do("stat", "--format=%U %a", f"/var/lib/miniwsgi/{name}", f"/run/miniwsgi/{name}").split()
        assert owner == [users[name], "750", users[name], "755"]
    assert machine.do("stat", "--format=%U", "/run/miniwsgi", "/var/lib/miniwsgi").split() == ["root", "root"]

    # What one of them tries against the other.
    for other in ("blog", MAIN):
        master = machine.master(other)
        assert machine.attempt(f"import os; os.listdir('/var/lib/miniwsgi/{other}')", "shop") == "PermissionError 13"
        assert machine.attempt(f"import os; os.rename('/run/miniwsgi/{other}', '/run/x')", "shop").endswith("Error 13")
        assert machine.attempt(f"import os; os.kill({master}, 15)", "shop") == "PermissionError 1"
        assert machine.attempt(f"import os; os.listdir('/proc/{master}')", "shop") == "FileNotFoundError 2"
        connect = f"import socket; socket.socket(1).connect('/run/miniwsgi/{other}/control.sock')"
        assert machine.attempt(connect, "shop") == "PermissionError 13"

    # What an administrator does with one of them.
    others = {name: machine.master(name) for name in ("blog", MAIN)}
    machine.version("v2", "shop")
    machine.systemctl("reload", "shop")
    assert machine.get(name="shop").startswith("v2 ")
    assert "shop" in machine.ctl("list")
    machine.systemctl("stop", "shop")
    assert not machine.path("/run/miniwsgi/shop").exists()
    for name, master in others.items():
        assert machine.get(name=name).startswith("v1 ")
        assert machine.master(name) == master
        machine.ctl("--instance", name, "ping")
    machine.systemctl("stop")
    machine.ctl("--instance", "blog", "ping")
