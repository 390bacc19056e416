"""`.ci/install-tools`: what it could not install is known, with why, and no mirror holds up the tests."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APT = """#!/bin/sh
case "$*" in *update*) exit 0 ;; esac
for word; do package=$word; done
case "$*" in
*no-such-package*) echo "E: Unable to locate package no-such-package"; exit 100 ;;
*slow*) exec sleep 600 ;;
*--download-only*) exit 0 ;;
esac
touch "{bin}/installed-$package"
"""


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory before all others on PATH, in which root asks an apt-get of the test's own."""
    path = tmp_path / "bin"
    path.mkdir()
    for name, text in (("apt-get", APT.replace("{bin}", str(path))), ("id", "#!/bin/sh\necho ${TEST_UID:-0}\n")):
        (path / name).write_text(text, "utf-8")
        (path / name).chmod(0o755)
    return path


def install(commands: Path, *tools: str, **environ: str) -> tuple[str, str]:
    """What was said, and what is lacking."""
    lacking = commands.parent / "lacking"
    environ = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", **environ}
    command = [str(ROOT / ".ci/install-tools"), str(lacking), *tools]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout, lacking.read_text("utf-8")


def test_what_is_there_is_left_alone(commands: Path) -> None:
    assert install(commands, "sh:dash", f"{ROOT}/Make*:make") == ("", "")


def test_one_that_cannot_be_had_keeps_no_other_away(commands: Path) -> None:
    said, lacking = install(commands, "no-such-program:no-such-package", "nor-this:other")
    assert "installing no-such-package other" in said
    assert lacking == "no-such-package: E: Unable to locate package no-such-package\n"
    assert (commands / "installed-other").exists()


def test_fetching_ends(commands: Path) -> None:
    began = time.monotonic()
    _said, lacking = install(commands, "a:slow-one", "b:slow-two", FETCH_SECONDS="1")
    assert lacking == "slow-one: not fetched in time\nslow-two: not fetched in time\n"
    assert time.monotonic() - began < 60


def test_who_is_not_root_is_told_what_is_missing(commands: Path) -> None:
    said, lacking = install(commands, "no-such-program:other", TEST_UID="1000")
    assert said == "missing: other; what needs them is skipped (as root they would be installed)\n"
    assert lacking == "other: only root of a Debian installs it\n"


def test_whatever_a_test_may_lack_is_installed() -> None:
    """The Makefile's TEST_TOOLS, or those of a part of the long run, have each package that a skip names."""
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    (tools,) = re.findall(r"^TEST_TOOLS := (.*)$", makefile, re.MULTILINE)
    (more,) = re.findall(r"^DEB_TOOLS := (.*)$", makefile, re.MULTILINE)
    (hooked,) = re.findall(r"^HOOKED_TOOLS := (.*)$", makefile, re.MULTILINE)
    packages = {tool.rpartition(":")[2] for tool in f"{tools} {more} {hooked}".split()}
    named = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name in {"test_test_rules.py", "programs.py", "skips.py", Path(__file__).name}:
            continue
        text = path.read_text("utf-8")
        for command, package in re.findall(r'\b(?:program|needs)\("([\w-]+)"(?:, "([\w-]+)")?\)', text):
            named.add(package or command)
        named.update(word for words in re.findall(r"\(Debian: ([\w. -]+)\)", text) for word in words.split())
    assert {"chromium", "nodejs", "logrotate", "gcc"} <= named
    assert named - packages - {"bash", "make"} == set()
