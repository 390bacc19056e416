"""What holds for every test: signals as a terminal or an init gives them, and the same examples on every machine.

A shell's background job ignores SIGINT and SIGQUIT, and what `nohup` starts ignores SIGHUP; all children inherit it.
Hypothesis takes its time. In each short run it chooses the same examples, in each long run others (`effort.SEED`).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Generator

import pytest
from miniwsgi.daemon.config.platform import PLATFORM_VARIABLES

from tests.support.effort import FULL, SEED
from tests.support.engines import ENGINES
from tests.support.schedule import arranged
from tests.support.selection import leave_out
from tests.support.users import open_directory

__all__ = ["open_directory"]

pytest_plugins = ["tests.support.retries", "tests.support.rewriting", "tests.support.skips"]

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass  # there are tests that do without
else:
    settings.register_profile("ours", deadline=None, derandomize=not FULL, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("ours")

for variable in PLATFORM_VARIABLES:  # a platform's, where the tests run, are not the daemons'
    os.environ.pop(variable.name, None)

PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}

if threading.current_thread() is threading.main_thread():
    for number in signal.valid_signals() - PYTHON_IGNORES:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before Hypothesis reads its options."""
    if FULL and getattr(config.option, "hypothesis_seed", "") is None:
        config.option.hypothesis_seed = str(SEED)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lasts as long as the process: no collection of garbage looks at it, now or later.

    These are a million objects: a third of what collecting costs, and of a collection in a test. Processes that tests
    fork here would write to the pages of all of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """What a worker's pool withholds from the processes it forks, when a test has made one here, is the test's alone.

    Left behind, it would be replaced in all that later tests fork here, where others have got the descriptors' numbers.
    """
    if children := sys.modules.get("miniwsgi.daemon.worker.children"):
        children._withheld.clear()
    _collect_descriptors()


def _collect_descriptors(tolerated: list[int] = [256]) -> None:  # noqa: B006 - it is to last
    """Sockets that are kept by circles of objects alone: select(2) has no room for descriptors above 1023."""
    if len(os.listdir("/proc/self/fd")) > tolerated[0]:
        gc.collect()
        tolerated[0] = len(os.listdir("/proc/self/fd")) + 256


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FULL:
        terminalreporter.section("seed")
        terminalreporter.line(f"MINIWSGI_TEST_SEED={SEED} make test-full chooses the same again")


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine there is: for the byte tables and the conformance cases, and whatever decides bytes."""
    name: str = request.param
    return name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked `full` to the long run, and real agents to the one that has installed them."""
    absent = set() if FULL else {"full"}
    if not os.environ.get("MINIWSGI_TEST_AGENTS"):
        absent.add("agents")
    leave_out(config, items, lambda item: bool(absent & {mark.name for mark in item.iter_markers()}))
    processes = config.workerinput["workercount"] if hasattr(config, "workerinput") else 1  # xdist's
    items[:] = arranged(items, processes)
