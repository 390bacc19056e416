"""What may be skipped, and why. With `--only-known-skips`, which .ci/run gives, anything else fails the run.

A test that lacks a program may be skipped only where the program could not be installed: not by somebody who is not
root, or by apt-get (MINIWSGI_TEST_LACKING is the file in which .ci/install-tools keeps these). Everything else is here.
A plugin of pytest; works under xdist.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

ALLOWS = "it is the kernel's, or this container's, to allow"

# A skip's reason, as a regular expression for its beginning, and why no machine of ours can be made to do better.
KNOWN = {
    r"only root ": "whoever runs the tests is not root",
    r"a systemd lab needs root|needs root": "whoever runs the tests is not root",
    r"a systemd lab needs [^(]*$": ALLOWS,
    r"this machine (permits|has|hands on) no ": ALLOWS,
    r"this process may open \d+ files": ALLOWS,
    r"needs (mount namespaces|to mount|a cgroup)|cannot make a cgroup": ALLOWS,
    r"this kernel has no ": ALLOWS,
    r".*ptrace|.*strace.*(not permitted|attach)": "processes may not be traced in this container",
    r"OpenBLAS starts no threads on one CPU": "the machine has one processor",
    r"could not import 'dbm\.gnu'": "this Python was built without gdbm",
    r"(gevent|eventlet|greenlet|\w+) is not there for this Python": "there is no release of it for this Python",
    r"the frameworks at hand are for Python ": "the package is for Debian's Python, the tests run on another",
    r"there is no other CPython with its headers": "no other Python is on PATH, nor of pyenv",
    r"there is no interpreter that everybody may run": "this Debian's own Python is older than 3.11",
    r"miniwsgi is installed on this machine": "its labs would have it, too",
    r"(bottle|falcon|cherrypy) is not installed": "`make test-frameworks` installs it, a part of .ci/extended",
    r"atheris is not installed": "`make fuzz` installs it, a part of .ci/extended",
    r"PYTHONMALLOC=malloc: ": "it is asked for, and a sanitizer's own takes its place",
    r"one (connection|request) at a time|a process a connection|the other pools": "this pool has nothing like it",
    r"nothing can be wrong with such a request": "there is nothing in it",
}
PACKAGES = re.compile(r"\(Debian: ([^)]+)\)")

_skipped: Counter[str] = Counter()


def lacking() -> set[str]:
    """The packages that could not be installed."""
    path = os.environ.get("MINIWSGI_TEST_LACKING", "")
    lines = Path(path).read_text("utf-8").splitlines() if path and os.path.exists(path) else []
    return {line.partition(":")[0] for line in lines}


def why(reason: str, absent: set[str]) -> str:
    """Why that may be skipped; "" if it may not."""
    if wanted := PACKAGES.search(reason):
        return "it could not be installed" if absent & set(wanted[1].split()) else ""
    return next((known for pattern, known in KNOWN.items() if re.match(pattern, reason)), "")


def unknown() -> list[str]:
    """The reasons of this run that are none."""
    absent = lacking()
    return [reason for reason in _skipped if not why(reason, absent)]


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        _skipped[str(report.longrepr[2]).removeprefix("Skipped: ")] += 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only-known-skips", action="store_true", help="fail if a test is skipped that need not be")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if config.getoption("--only-known-skips") and unknown() and not hasattr(config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _skipped:
        return
    absent = lacking()
    terminalreporter.section("skipped")
    for reason, count in sorted(_skipped.items()):
        known = why(reason, absent)
        terminalreporter.line(f"{count} × {reason} ({known or 'NOBODY KNOWS WHY: see tests/support/skips.py'})")
