"""Tests that are tried again, each with the reason beside it: what was tried again is told at the end of the run.

A retry hides a race more often than a slow machine. So it is there only for what the test itself has to do in time, and
one test that needs three in a run, with whatever parameters, fails the run. A plugin of pytest; works under xdist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

MOST = 2  # of one test in a run
PROPERTY = "tried again"

_running: list[pytest.Item] = []  # the test of this process
_told: list[tuple[str, str]] = []  # of all processes: a test, and why it was tried again


def note(error: BaseException | str, why: str) -> None:
    """The test that runs is about to try again, because of an error, and for a reason that lets it."""
    if _running:
        _running[0].user_properties.append((PROPERTY, f"{why}: {str(error).partition(chr(10))[0]:.200}"))


def tried_again(work: Callable[[], T], why: str, times: int = 2) -> T:
    """What `work` returns, as soon as it raises no AssertionError; that of the last time is raised."""
    for _ in range(times):
        try:
            return work()
        except AssertionError as error:
            note(error, why)
    return work()


def complaints(told: list[tuple[str, str]]) -> list[str]:
    """Which tests were tried again too often."""
    often = Counter(test.partition("[")[0] for test, _why in told)
    return [f"{test} was tried again {count} times: it has a race" for test, count in often.items() if count > MOST]


def pytest_runtest_setup(item: pytest.Item) -> None:
    _running[:] = [item]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _told.extend((report.nodeid, str(why)) for name, why in report.user_properties if name == PROPERTY)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if complaints(_told) and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _told:
        return
    terminalreporter.section(f"tried again: {len(_told)}")
    for test, why in _told:
        terminalreporter.line(f"{test}: {why}")
    for complaint in complaints(_told):
        terminalreporter.line(f"FAILED {complaint}", red=True)
