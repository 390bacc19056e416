"""What pip makes of a source distribution, with a compiler and without: the compiled engine is optional, and told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from miniwsgi.daemon.engine import builds

from tests.support.programs import needs
from tests.support.service import Service

ROOT = Path(__file__).parents[2]
NEEDED = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "codes",
    "daemon",
    "manager",
    "metrics",
    "docs/errors.md",
    "packaging/systemd",
)
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(*sys.argv[2:]))"
ENGINE = "daemon/engine/compiled"


def run(directory: Path, *command: str, **environ: str) -> str:
    """What it says; it has to succeed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the repository, and nothing that was made in it."""
    made = tmp_path_factory.mktemp("tree")
    for name in NEEDED:
        source, target = ROOT / name, made / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "_engine*.c", "_engine*.so"))
        else:
            shutil.copy(source, target)
    return made


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of it."""
    target = tmp_path_factory.mktemp("dist")
    run(tree, "-c", BUILD, "build_sdist", str(target))
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def no_cython(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine that has none, and no network."""
    directory = tmp_path_factory.mktemp("blocked")
    (directory / "sitecustomize.py").write_text("import sys\nsys.modules['Cython'] = sys.modules['cython'] = None\n")
    return {"PYTHONPATH": str(directory), "PIP_NO_INDEX": "1", "MINIWSGI_ENGINE_FLAGS": "-O0"}


@pytest.fixture
def from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory to install into, which daemons of this test run from; nobody has built an engine."""
    target = tmp_path / "installed"
    monkeypatch.setenv("PYTHONPATH", str(target))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return target


def install(sdist: Path, target: Path, **environ: str) -> None:
    run(
        sdist.parent,
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), str(sdist)),
        **environ,
    )


def test_a_source_distribution_has_the_engines_sources_and_the_c_that_was_made_of_them(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2]: name for name in archive.getnames()}
        member = archive.extractfile(names[f"{ENGINE}/_engine.c"])
        assert member is not None
        assert builds.mark(builds.key()) in member.read()
    ours = {path.name for path in (ROOT / ENGINE).iterdir() if path.suffix in (*builds.SOURCES, ".pyi")}
    assert {f"{ENGINE}/{name}" for name in ours} <= names.keys()
    assert not [name for name in names if name.endswith(".so")]


def test_it_asks_for_no_cython(sdist: Path, no_cython: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert run(unpacked, "-c", BUILD, "get_requires_for_build_wheel", **no_cython).splitlines()[-1] == "[]"
    (unpacked / ENGINE / "_engine.pyx").write_text("cdef int changed\n")
    asked = run(unpacked, "-c", BUILD, "get_requires_for_build_wheel", **no_cython).splitlines()[-1]
    assert asked.lower().startswith("['cython"), "the C source is another one's"


def test_without_a_compiler_it_installs_serves_and_says_so(
    sdist: Path, no_cython: dict[str, str], from_here: Path, service: Service
) -> None:
    install(sdist, from_here, **no_cython, PATH="/nowhere")
    assert not list(from_here.rglob("*.so"))
    daemon = service.start("--workers", "1", "--engine", "auto")
    daemon.wait_for_log("start: done")
    assert f"generation 1: engine plain: no build for {builds.interpreter()}\n" in daemon.log()


@needs("cc", "gcc")
def test_with_a_compiler_it_serves_compiled_without_cython(
    sdist: Path, no_cython: dict[str, str], from_here: Path, service: Service
) -> None:
    install(sdist, from_here, **no_cython)
    daemon = service.start("--workers", "1", "--engine", "auto")
    daemon.wait_for_log("start: done")
    assert "generation 1: engine compiled\n" in daemon.log()


def test_an_editable_installation_needs_no_compiler(sdist: Path, no_cython: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    strict = "from setuptools import build_meta; build_meta.build_editable('.', {'editable_mode': 'strict'})"
    run(unpacked, "-c", strict, **no_cython, PATH="/nowhere")
    assert list(unpacked.glob("*.whl"))
    assert not list(unpacked.rglob("_engine*.so"))


@pytest.mark.parametrize("name", ["_engine.pyx", "scan.h"])
def test_a_changed_source_of_the_engine_is_built_by_the_next_make(tmp_path: Path, name: str) -> None:
    (tmp_path / "bin").mkdir()
    for made in ("bin/python", ".files", ".serve"):  # as if all had been installed just now
        (tmp_path / made).touch()
    make = ["make", "--dry-run", f"VENV={tmp_path}", "--old-file", f"{tmp_path}/.files"]
    for changed, wanted in ([], 0), (["--what-if", f"{ENGINE}/{name}"], 1):
        done = subprocess.run(
            [*make, *changed, f"{tmp_path}/.serve"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.count("pip install") == wanted, done.stdout + done.stderr
