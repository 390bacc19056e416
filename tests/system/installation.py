"""miniwsgi as a package would install it: /opt/miniwsgi, /usr/bin, and the units, for a lab.

The virtual environment is made with the distribution's Python and filled without a network: with this source tree,
and with the libraries of the environment that runs the tests where these are for the same version of Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.waiting import PATIENCE_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = REPOSITORY / "packaging" / "systemd"
PLACE = "/opt/miniwsgi"
APPLICATIONS = ["flask", "django"]
SCRIPT = """#!{place}/bin/python3
import sys
from {module} import {function}
sys.exit({function}())
"""


class CannotInstallError(Exception):
    """This machine has not what it takes; the text says what."""


def interpreter() -> str:
    """A Python that a hardened service can run: of the system, not of somebody's home. Raises CannotInstallError."""
    found = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin") or "/usr/bin/python3"
    check = "import sys, venv; print(*sys.version_info[:2], sep='.'); sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([found, "-c", check], capture_output=True, timeout=PATIENCE_SECONDS)
    except FileNotFoundError:
        raise CannotInstallError(f"there is no {found}") from None
    if done.returncode != 0:
        raise CannotInstallError(f"{found} is older than 3.11, or has no venv")
    return found


def install(directory: Path) -> None:
    """Fill a directory that is seen as /opt/miniwsgi in the lab. Raises CannotInstallError."""
    python = interpreter()
    directory.mkdir(mode=0o755)
    _run([python, "-m", "venv", "--without-pip", str(directory)])
    [site] = directory.glob("lib/python3.*/site-packages")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    _install_libraries(site, [*project["project"]["dependencies"], *APPLICATIONS])
    for package, source in project["tool"]["setuptools"]["package-dir"].items():
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / source, site / package.replace(".", "/"), ignore=skipped)
    _run([python, "-m", "compileall", "-q", str(site / "miniwsgi")])
    for name, entry in project["project"]["scripts"].items():
        module, function = entry.split(":")
        script = directory / "bin" / name
        script.write_text(SCRIPT.format(place=PLACE, module=module, function=function), "utf-8")
        script.chmod(0o755)


def _install_libraries(site: Path, requirements: list[str]) -> None:
    version = site.parent.name.removeprefix("python")
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--target", str(site), "--python-version", version, "--only-binary=:all:"]
        _run([*pip, *requirements])
        return
    for distribution in _closure(requirements):
        for path in distribution.files or ():
            if ".." not in path.parts:  # commands, man pages
                target = site / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(path.locate()), target)


def _closure(requirements: list[str]) -> list[metadata.Distribution]:
    """The distributions that these need, as they are installed here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        if wanted.name.lower() in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            distribution = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError:
            raise CannotInstallError(f"{wanted.name} is not installed beside pytest") from None
        found[wanted.name.lower()] = distribution
        waiting += [Requirement(text) for text in distribution.requires or ()]
    return list(found.values())


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE_SECONDS)
    if done.returncode != 0:
        raise CannotInstallError(f"{command[:4]}: {done.stderr.strip()[-500:]}")


def install_units(root: Path) -> None:
    """The units, users and directories, and both commands on the PATH, below a root."""
    for folder, place in (
        ("", "usr/lib/systemd/system"),
        ("sysusers.d", "usr/lib/sysusers.d"),
        ("tmpfiles.d", "usr/lib/tmpfiles.d"),
    ):
        (root / place).mkdir(parents=True, exist_ok=True)
        for path in (UNITS / folder).iterdir():
            if path.is_file():
                shutil.copy(path, root / place)
    (root / "usr/bin").mkdir(parents=True)
    for name in ("miniwsgi", "miniwsgictl"):
        (root / "usr/bin" / name).symlink_to(f"{PLACE}/bin/{name}")
