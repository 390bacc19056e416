"""The unit files: what systemd itself says of them, how exposed their services are, and which machine comes up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import unbooted
from .installation import UNITS
from .machine import SYSTEMD_SOCKET, Machine

MOST_EXPOSED = 13  # in tenths, as systemd-analyze takes it
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
UNIT_FILES = sorted(path.name for kind in ("service", "socket") for path in UNITS.glob(f"*.{kind}"))


def test_systemd_finds_no_mistake_and_little_exposure(machine: Machine) -> None:
    places = [f"/usr/lib/systemd/system/{name.replace('@.', '@shop.')}" for name in UNIT_FILES]
    verified = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *places)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    for name in SERVICES:
        place = f"/usr/lib/systemd/system/{name}"
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", place]
        judged = machine.run(*command)
        assert judged.returncode == 0, f"{name}: {judged.stdout}{judged.stderr}"


@pytest.mark.parametrize("name", SERVICES)
def test_each_line_of_hardening_tells_its_cost(name: str) -> None:
    """A comment stands above each directive, or above the group of which it is one."""
    hardening = (UNITS / name).read_text("utf-8").partition("# --- hardening")[2].partition("[Install]")[0]
    lines = hardening.splitlines()[1:]
    assert lines
    for before, line in zip(["", *lines], lines, strict=False):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("#") or "=" in before, f"{name}: {line} has no comment"


def test_every_drop_in_is_for_a_unit_and_is_understood(machine: Machine) -> None:
    drop_ins = sorted((UNITS / "drop-in").glob("*.d/*.conf"))
    assert drop_ins
    for path in drop_ins:
        unit = path.parent.name.removesuffix(".d")
        assert (UNITS / re.sub("@[^.]*", "@", unit)).exists(), unit
        at = machine.path(f"/etc/systemd/system/{path.parent.name}/{path.name}")
        machine.write(at, path.read_text("utf-8"))
        place = f"/usr/lib/systemd/system/{unit.replace('@.', '@shop.')}"
        verified = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", place)
        if path.name == "notify-reload.conf" and verified.returncode != 0:
            notes = verified.stderr.splitlines()
            assert notes, "it says what it does not know"
            assert all("notify-reload" in note for note in notes), notes  # systemd before 253
        else:
            assert (verified.returncode, verified.stderr) == (0, ""), path.name
        at.unlink()


def test_what_is_enabled_comes_up_with_the_machine(tmp_path: Path, installation: Path) -> None:
    machine = unbooted(tmp_path, installation)
    machine.configure(bind=SYSTEMD_SOCKET)
    machine.application("shop")
    machine.configure("shop", bind=SYSTEMD_SOCKET)
    machine.enable("miniwsgi.socket", "miniwsgi.service", "miniwsgi@shop.socket")
    with machine:
        assert machine.state() == ("active", "running")
        assert machine.property("miniwsgi.socket", "ActiveState") == "active"
        assert machine.get(bind=SYSTEMD_SOCKET).startswith("v1 ")
        # Of the other application the socket alone: its first client starts it.
        assert machine.state("shop") == ("inactive", "dead")
        assert machine.get(name="shop", bind=SYSTEMD_SOCKET).startswith("v1 ")
        machine.wait_for_state("active", "running", "shop")
