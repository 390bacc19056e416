"""Labs for tests, each a machine of its own. Where the machine cannot boot one, they are skipped and say why."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import lab

from .installation import CannotInstallError, install
from .machine import Machine


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """What is /opt/miniwsgi in the labs: made once a test run, by the first of its processes that comes here."""
    if lab.missing():
        pytest.skip(lab.missing())
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    done, problem = shared / "miniwsgi-installed", shared / "miniwsgi-problem"
    with (shared / "miniwsgi-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() and not problem.exists():
            try:
                install(shared / "miniwsgi")
                done.touch()
            except CannotInstallError as error:
                problem.write_text(str(error), "utf-8")
    if problem.exists():
        pytest.skip(f"cannot install miniwsgi for a lab: {problem.read_text('utf-8')}")
    return shared / "miniwsgi"


@pytest.fixture
def machine(tmp_path: Path, installation: Path) -> Iterator[Machine]:
    """A booted machine with miniwsgi installed, and an application for miniwsgi.service that is configured."""
    machine = unbooted(tmp_path, installation)
    with machine:
        yield machine


def unbooted(directory: Path, installation: Path) -> Machine:
    machine = Machine(directory, installation)
    machine.application()
    machine.configure()
    return machine
