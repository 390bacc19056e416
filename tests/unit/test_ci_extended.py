"""The long run's script: named parts, each of which runs alone. A `make` that only takes notes stands in for ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

EXTENDED = Path(__file__).parents[2] / ".ci" / "extended"
PARTS = ["test-full", "conformance-full", "engines", "fuzz", "faults", "soak"]  # others may come

NOTING_MAKE = """#!/bin/sh
echo "$1" >>"$NOTES"
echo "engine ${MINIWSGI_SERVER_ENGINE:-auto}"
[ "$1" != "$FAILING" ]
"""


class Script:
    """`.ci/extended`, run with arguments; `made` are the targets that it made."""

    def __init__(self, directory: Path) -> None:
        self._notes = directory / "notes"
        self._programs = directory / "bin"
        self._programs.mkdir()
        make = self._programs / "make"
        make.write_text(NOTING_MAKE)
        make.chmod(0o755)

    def __call__(self, *arguments: str, failing: str = "") -> subprocess.CompletedProcess[str]:
        self._notes.write_text("")
        path = f"{self._programs}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "NOTES": str(self._notes), "FAILING": failing}
        return subprocess.run([EXTENDED, *arguments], env=environ, capture_output=True, text=True, timeout=60)

    @property
    def made(self) -> list[str]:
        return self._notes.read_text().split()


@pytest.fixture
def extended(tmp_path: Path) -> Script:
    """See Script."""
    return Script(tmp_path)


def known_parts(extended: Script) -> list[str]:
    return [line.split()[0] for line in extended("--list").stdout.splitlines()]


def test_the_list_names_every_part_and_runs_none(extended: Script) -> None:
    assert set(PARTS) <= set(known_parts(extended))
    assert not extended.made


def test_help_says_how_and_lists_the_parts(extended: Script) -> None:
    shown = extended("--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: .ci/extended [--engine NAME] [PART…]")
    assert extended("--list").stdout in shown.stdout


def test_a_part_runs_alone(extended: Script) -> None:
    result = extended("soak")
    assert (result.returncode, extended.made) == (0, ["soak"])


def test_parts_run_on_the_engine_that_is_named(extended: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIWSGI_SERVER_ENGINE", raising=False)
    assert "engine plain\n" in extended("--engine", "plain", "faults").stdout
    assert extended.made == ["faults"]
    assert "engine auto\n" in extended("faults").stdout


def test_another_python_is_a_part(extended: Script) -> None:
    assert (extended("python-3.13").returncode, extended.made) == (0, ["test-python"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["debian-root", "trixie", "--", "true"], "another Debian's root needs root"),
        (["test-python", "3.99"], "there is no python3.99 on PATH, nor of pyenv, nor in a newer Debian"),
    ],
)
def test_what_this_machine_has_not_is_named(tmp_path: Path, command: list[str], said: str) -> None:
    somebody = tmp_path / "id"
    somebody.write_text("#!/bin/sh\necho 1000\n")
    somebody.chmod(0o755)
    done = subprocess.run(
        [EXTENDED.with_name(command[0]), *command[1:]],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.strip().rpartition(": ")[2]) == (77, said)


def test_an_unknown_part_runs_nothing_and_names_the_known(extended: Script) -> None:
    result = extended("soak", "sock")
    assert (result.returncode, extended.made) == (2, [])
    assert "'sock'" in result.stderr
    assert " ".join(PARTS) in result.stderr


def test_a_failed_part_does_not_keep_the_others_from_running(extended: Script) -> None:
    result = extended("fuzz", "faults", "soak", failing="faults")
    assert (result.returncode, extended.made) == (1, ["fuzz", "faults", "soak"])
    summary = [line.split()[:2] for line in result.stdout.splitlines()[-3:]]
    assert summary == [["fuzz", "passed"], ["faults", "FAILED"], ["soak", "passed"]]


def test_without_a_name_all_parts_run(extended: Script) -> None:
    result = extended()
    assert result.returncode == 0
    summary = [line.split()[0] for line in result.stdout.partition("== all parts\n")[2].splitlines()]
    assert summary == known_parts(extended)
