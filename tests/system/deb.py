"""The Debian package for tests: built once for what is in the tree, kept outside of it, and made into a newer version.

`make deb` builds it. The built package stays in the user's cache directory under a hash of all that goes into it; test
processes that want it at the same time wait for the one that builds.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
INPUTS = ("Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "setup.py")
TREES = ("codes", "daemon", "manager", "metrics", "docs", "packaging")
COMMANDS = ("make", "dpkg-buildpackage", "dpkg-checkbuilddeps", "dh", "dpkg-deb")
BUILD_SECONDS = 900
KEPT = 3  # built packages
# What is made fast is not what is asked of it here: neither the engine nor its package has to be small.
QUICKLY = {"MINIWSGI_ENGINE_FLAGS": "-O0", "DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}


@functools.cache
def missing() -> str:
    """Why this machine cannot build the package, or ""."""
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    if absent:
        return f"the Debian package needs {', '.join(absent)} (Debian: make dpkg-dev debhelper)"
    if os.path.exists("/opt/miniwsgi"):
        return "miniwsgi is installed on this machine: its labs would have it too"
    control = ROOT / "packaging" / "debian" / "control"
    checked = subprocess.run(["dpkg-checkbuilddeps", str(control)], cwd="/", capture_output=True, text=True)
    return f"the Debian package cannot be built: {checked.stderr.strip()}" if checked.returncode else ""


def built() -> Path:
    """The package of this tree. Raises AssertionError with the end of the log if it does not build."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "miniwsgi-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = cache / f"{_digest()}.deb"
        if not found.exists():
            _build(found)
        os.utime(found)
        for old in sorted(cache.glob("*.deb"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink()
        return found


def newer(package: Path, directory: Path) -> tuple[Path, str]:
    """The same package as a later version: (its path, the version). Nothing but the version differs."""
    tree, target = directory / "unpacked", directory / "newer.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    (module,) = tree.glob("opt/miniwsgi/lib/python3*/site-packages/miniwsgi/daemon/__init__.py")
    _replace(module, r'__version__ = "(.*)"', r'__version__ = "\1.post1"')
    _replace(tree / "DEBIAN" / "control", r"(?m)^Version: (.*)$", r"Version: \1.post1")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(target)], check=True)
    shutil.rmtree(tree)
    field = subprocess.run(["dpkg-deb", "--field", str(target), "Version"], check=True, capture_output=True, text=True)
    return target, field.stdout.strip()


def _replace(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text("utf-8"))
    assert count == 1, path
    path.write_text(text, "utf-8")


def _digest() -> str:
    digest = hashlib.sha256()
    trees = (path for tree in TREES for path in (ROOT / tree).rglob("*") if "__pycache__" not in path.parts)
    for path in sorted([*(ROOT / name for name in INPUTS), *trees]):
        if path.is_file() and not path.match("compiled/_engine*.[cs]*"):  # made from what is in here, too
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode:o}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _build(target: Path) -> None:
    work = target.with_suffix(".build")
    shutil.rmtree(work, ignore_errors=True)
    command = ["make", "deb", f"DIST={work}/dist", f"DEB_BUILD={work}/tree"]
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    environment.pop("VIRTUAL_ENV", None)
    environment |= QUICKLY
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, f"make deb:\n{done.stdout[-4000:]}"
    (package,) = (work / "dist").glob("*.deb")
    package.replace(target)
    shutil.rmtree(work)
