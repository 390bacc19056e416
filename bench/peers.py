"""The peers' virtual environment: made once, in a cache directory, each peer installed on its own.

A peer that cannot be installed is reported with the last line of pip's complaint, and the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INSTALL_SECONDS = 600
REQUIREMENTS = {"setuptools": "setuptools<81"}  # later ones lack pkg_resources, which fastwsgi imports

_ASK = """
import importlib.metadata as m, json, platform, sys
found = {}
for name in filter(None, sys.argv[1].split(",")):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps({"python": platform.python_version(), "versions": found}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter and what it has installed."""

    python: str  # path of the interpreter
    python_version: str
    versions: dict[str, str]  # distribution -> version
    missing: dict[str, str]  # distribution -> why it could not be installed


def cache_directory() -> Path:
    """Where the environment lies: $XDG_CACHE_HOME/miniwsgi-bench, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "miniwsgi-bench"


def inspect(python: str, packages: Iterable[str]) -> Environment:
    """What an interpreter has. Raises OSError or subprocess.CalledProcessError when it does not run."""
    packages = list(packages)
    answer = subprocess.run(
        [python, "-c", _ASK, ",".join(packages)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    found = json.loads(answer.stdout)
    missing = {name: "not installed" for name in packages if name not in found["versions"]}
    return Environment(python, found["python"], found["versions"], missing)


def prepare(packages: Iterable[str]) -> Environment:
    """The cached environment with these packages, made and completed as needed; says so on stderr."""
    packages = list(packages)
    directory = cache_directory() / "venv"
    python = str(directory / "bin" / "python")
    if not Path(python).exists():
        print(f"making the peers' virtual environment in {directory}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    environment = inspect(python, packages)
    reasons = {}
    for package in environment.missing:
        print(f"installing {package}", file=sys.stderr)
        reasons[package] = _install(python, package)
    if not reasons:
        return environment
    after = inspect(python, packages)
    missing = {name: reasons[name] or why for name, why in after.missing.items()}
    return Environment(python, after.python_version, after.versions, missing)


def _install(python: str, package: str) -> str:
    """Install one package; "" or why it failed."""
    requirement = REQUIREMENTS.get(package, package)
    try:
        done = subprocess.run(
            [python, "-m", "pip", "install", "--disable-pip-version-check", "-q", requirement],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"pip took more than {INSTALL_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line.lower()]
    return (errors or lines or ["pip failed"])[0][:200]
