"""Configurations of other servers in the shapes that they have in the wild (`migrations/`), and what they become.

A case is a directory with the files and case.toml: the arguments of `miniwsgi import`, the environment, the file and
the name of the application, the values that keys of ours must have, and what the written file and warnings must say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).with_name("migrations")
NAMES = sorted(path.name for path in CASES.iterdir())
OUTPUT = "miniwsgi.toml"
# What the environment of a test run must not add to a case.
FOREIGN = ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS")

APPLICATION = """
def {name}(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["{case} {{SCRIPT_NAME}}|{{PATH_INFO}}".format(**environ).encode()]
"""
FACTORY = """
def {name}(*arguments, **options):
    return application
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A copy of a case's directory, with its application."""

    name: str
    directory: Path
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    keys: Mapping[str, Any]
    said: tuple[str, ...]
    warned: tuple[str, ...]

    @property
    def output(self) -> Path:
        return self.directory / OUTPUT

    @property
    def environment(self) -> dict[str, str]:
        """All of it, for a process."""
        ours = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        return {**ours, **self.environ}

    def convert(self) -> str:
        """Run `miniwsgi import`; what it wrote to standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "miniwsgi.daemon", "import", "-o", OUTPUT, *self.arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return done.stderr


def prepare(name: str, directory: Path) -> Case:
    """Copy a case to a directory that does not exist yet."""
    shutil.copytree(CASES / name, directory)
    told = tomllib.loads((directory / "case.toml").read_text("utf-8"))
    file, _, attribute = told["application"].partition(":")
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent != directory and path.name == "wsgi.py":
        (path.parent / "__init__.py").touch()
    factory = attribute.endswith("()")
    source = APPLICATION.format(name="application" if factory else attribute, case=name)
    path.write_text(source + (FACTORY.format(name=attribute[:-2]) if factory else ""), "utf-8")
    return Case(
        name,
        directory,
        tuple(told["arguments"]),
        told.get("environ", {}),
        told["keys"],
        tuple(told.get("said", ())),
        tuple(told.get("warned", ())),
    )
