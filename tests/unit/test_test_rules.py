"""The rules of the tests' own house: a retry is told and counted, a skip has to be known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import retries, skips
from tests.support.schedule import TESTS, arranged

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("-p", "xdist.plugin", "-p", "tests.support.retries", "-p", "tests.support.skips", "-p", "no:cacheprovider")
HASTY = """
import pytest
from tests.support.retries import tried_again

@pytest.mark.parametrize("number", range({count}))
def test_hasty(number):
    seen = []

    def work():
        seen.append(1)
        assert len(seen) > 1, "too late"

    tried_again(work, "the machine may be slow")

def test_skipped():
    pytest.skip({skipped!r})
"""


def run(directory: Path, source: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a run of pytest that allows only known skips."""
    path = directory / "test_it.py"
    path.write_text(source, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", *PLUGINS, "--rootdir", str(directory), *arguments, str(path)]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command.append("--only-known-skips")
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout


@pytest.mark.parametrize("processes", ["-n0", "-n1"])
def test_what_was_tried_again_or_skipped_is_told(tmp_path: Path, processes: str) -> None:
    status, said = run(tmp_path, HASTY.format(count=2, skipped="this machine has no IPv6"), processes)
    assert status == 0, said
    assert "tried again: 2" in said
    assert "test_it.py::test_hasty[1]: the machine may be slow: too late" in said
    assert "1 × this machine has no IPv6 (it is the kernel's" in said


def test_three_retries_of_a_test_fail_the_run(tmp_path: Path) -> None:
    status, said = run(tmp_path, HASTY.format(count=3, skipped="this machine has no IPv6"))
    assert status == 1, said
    assert "test_it.py::test_hasty was tried again 3 times" in said


def test_a_skip_that_nobody_knows_fails_the_run(tmp_path: Path) -> None:
    status, said = run(tmp_path, HASTY.format(count=1, skipped="it is Sunday"))
    assert status == 1, said
    assert "1 × it is Sunday (NOBODY KNOWS WHY" in said


def test_tests_of_different_names_are_counted_apart() -> None:
    assert retries.complaints([("a::b[1]", ""), ("a::b[2]", ""), ("a::c", "")]) == []
    (complaint,) = retries.complaints([("a::b[1]", ""), ("a::b[2]", ""), ("a::b", "")])
    assert complaint.startswith("a::b was tried again 3 times")


def test_work_that_keeps_failing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_running", [])  # this one is not to be told of

    def never() -> None:
        raise AssertionError("never")

    with pytest.raises(AssertionError, match="never"):
        retries.tried_again(never, "it may be slow", 1)


def test_a_skipped_module_counts(tmp_path: Path) -> None:
    status, said = run(tmp_path, "import pytest\npytest.importorskip('nothing_of_that_name')\n")
    assert status != 0, said
    assert "NOBODY KNOWS WHY" in said


def test_a_program_may_be_missing_only_where_it_could_not_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "zsh is not installed (Debian: zsh)"
    monkeypatch.setenv("MINIWSGI_TEST_LACKING", str(tmp_path / "lacking"))
    assert skips.why(reason, skips.lacking()) == ""
    (tmp_path / "lacking").write_text("chromium: E: Unable to fetch\nzsh: E: Unable to fetch\n", "utf-8")
    assert skips.lacking() == {"chromium", "zsh"}
    assert skips.why(reason, skips.lacking())
    assert not skips.why("fish is not installed (Debian: fish)", skips.lacking())


PLACES = {
    "faults/test_a.py": 4,
    "integration/test_b.py": 3,
    "integration/test_c.py": 3,
    "system/test_d.py": 5,
    "unit/test_e.py": 100,
}


def test_each_process_begins_with_what_takes_long_and_ends_with_what_does_not() -> None:
    tests = [SimpleNamespace(path=TESTS / place, number=n) for place, count in PLACES.items() for n in range(count)]
    found = arranged(tests, 3)
    dealt = [found[:38], found[38:76], found[76:]]  # 115 on three processes, as worksteal deals
    folders = [[test.path.relative_to(TESTS).parts[0] for test in part] for part in dealt]
    assert folders[0] == ["system"] * 5 + ["unit"] * 33
    assert folders[1] == ["faults"] * 4 + ["unit"] * 7 + ["integration"] * 3 + ["unit"] * 24
    assert folders[2] == ["integration"] * 3 + ["unit"] * 36
    assert sorted(map(tests.index, found)) == list(range(115)), "none is lost, none comes twice"


@pytest.mark.parametrize("processes", [1, 2, 4, 9])
def test_few_tests_or_processes_lose_none(processes: int) -> None:
    tests = [
        SimpleNamespace(path=TESTS / place) for place in ("unit/test_e.py", "faults/test_a.py", "system/test_d.py")
    ]
    found = arranged(tests, processes)
    assert len(found) == 3
    assert all(test in found for test in tests)
    assert found[-1] is tests[0]
