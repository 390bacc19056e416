"""Who holds an address is told from /proc, here one of the test's own: whatever pids the processes have."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniwsgi.daemon.master.sockets import holders

LISTENER = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1"
ELSEWHERE = "   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78 1"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One in which inode 77 listens on port 8080, 78 on 8081."""
    monkeypatch.setattr(holders, "PROC", str(tmp_path))
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(f"header\n{LISTENER}\n{ELSEWHERE}\n")
    return tmp_path


def process(proc: Path, pid: int, name: str, *, started: int, holds: str) -> None:
    """One that was started so many clock ticks after the boot, and has a descriptor of a socket."""
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "fd" / "5").symlink_to(holds)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    (proc / str(pid) / "cmdline").write_text(f"{name}\0")
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S 1 {'0 ' * 17}{started} 0\n")


def test_the_holder_is_the_oldest_process_that_has_the_socket(proc: Path) -> None:
    process(proc, 300, "mw-worker 0", started=902, holds="socket:[77]")
    process(proc, 31836, "miniwsgi: master", started=800, holds="socket:[77]")
    process(proc, 567, "mw-launcher", started=900, holds="socket:[77]")
    process(proc, 1, "init", started=1, holds="socket:[78]")
    assert holders.port_holder(8080) == "miniwsgi: master (pid 31836)"


def test_who_ends_meanwhile_is_not_the_oldest(proc: Path) -> None:
    process(proc, 300, "ended", started=1, holds="socket:[77]")
    process(proc, 567, "nginx", started=900, holds="socket:[77]")
    (proc / "300" / "stat").unlink()
    assert holders.port_holder(8080) == "nginx (pid 567)"


def test_nobody_that_can_be_seen_is_nobody(proc: Path) -> None:
    assert holders.port_holder(8080) == ""
    assert holders.port_holder(9999) == ""
