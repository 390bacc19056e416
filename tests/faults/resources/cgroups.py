"""A control group of a daemon's own, with a bound that can be narrowed while it runs (cgroup v1 or v2)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cgroups import PREFIX, hierarchies, make_cgroup, remove_cgroup, sweep
from tests.support.waiting import wait_for

from .stage import Impossible, need_root


@contextmanager
def cgroup(controller: str) -> Iterator[Path]:
    """A new one that has this controller, gone afterwards. Raises Impossible."""
    need_root()
    sweep()
    parents = [path for controllers, path in hierarchies() if controller in controllers.split(",")]
    for controllers, path in hierarchies():
        enabled = path / "cgroup.subtree_control"
        if not controllers and enabled.exists() and controller in enabled.read_text("ascii").split():
            parents.append(path)
    if not parents:
        raise Impossible(f"needs a cgroup with the controller {controller}")
    try:
        made = make_cgroup(parents[0] / f"{PREFIX}{os.getpid()}.{time.monotonic_ns()}")
    except OSError as error:
        raise Impossible(f"cannot make a cgroup: {error.strerror}") from None
    try:
        yield made
    finally:
        wait_for(lambda: remove_cgroup(made), f"{made} is gone")  # its processes are being killed


def entering(group: Path) -> list[str]:
    """The prefix of a program that runs in it."""
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group)]
