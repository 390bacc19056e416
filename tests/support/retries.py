"""Tests that are tried again, each with the reason beside it: what was tried again is told at the end of the run.

A retry hides a race more often than a slow machine. So it is there only for what the test itself has to do in time, and
one test that needs three in a run, with whatever parameters, fails the run (`sanitizer` allows more). A plugin of
pytest; works under xdist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest

from .sanitizer import RETRIES_OF_A_TEST

T = TypeVar("T")

PROPERTY, PROVEN = "tried again", "tried again, as it had to be"

_running: list[pytest.Item] = []  # the test of this process
_told: list[tuple[str, str]] = []  # of all processes: a test, and why it was tried again
_proven: list[tuple[str, str]] = []  # the same, where it had to be


def note(error: BaseException | str, why: str, *, proven: bool = False) -> None:
    """The test that runs is about to try again, because of an error, and for a reason that lets it.

    Where that was not only supposed but measured, it is `proven`, and told without being counted.
    """
    if _running:
        name = PROVEN if proven else PROPERTY
        _running[0].user_properties.append((name, f"{why}: {str(error).partition(chr(10))[0]:.200}"))


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
    often = Counter({test: count for test, count in often.items() if count > RETRIES_OF_A_TEST})
    return [f"{test} was tried again {count} times: it has a race" for test, count in often.items()]


def pytest_runtest_setup(item: pytest.Item) -> None:
    _running[:] = [item]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        for told, wanted in ((_told, PROPERTY), (_proven, PROVEN)):
            told.extend((report.nodeid, str(why)) for name, why in report.user_properties if name == wanted)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if complaints(_told) and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _told + _proven:
        return
    terminalreporter.section(f"tried again: {len(_told)}, and {len(_proven)} that had to be")
    for test, why in _told + _proven:
        terminalreporter.line(f"{test}: {why}")
    for complaint in complaints(_told):
        terminalreporter.line(f"FAILED {complaint}", red=True)
