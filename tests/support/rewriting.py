"""Assertions of test modules are rewritten once, on all CPUs, before each process of xdist does it for itself.

Rewriting is most of what collecting costs. pytest keeps what it has rewritten, but processes that begin together find
nothing yet, and where PYTHONDONTWRITEBYTECODE is set nothing is kept. How pytest does it is its own affair: where that
has changed, each process does all of it, as it would without this. A plugin of pytest.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        return  # there is one process, or this is one of them
    paths = sorted([*TESTS.rglob("test_*.py"), *TESTS.rglob("conftest.py")])
    at_once = os.cpu_count() or 1
    children = []
    for first in range(at_once):
        if not (child := os.fork()):
            try:
                for path in paths[first::at_once]:
                    keep_rewritten(path, config)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def keep_rewritten(path: Path, config: pytest.Config) -> None:
    """Do what pytest's import hook does, but execute the module. Raises what it likes: nobody relies on it."""
    from _pytest.assertion import rewrite  # private

    directory = rewrite.get_cache_dir(path)
    directory.mkdir(exist_ok=True)
    kept = directory / f"{path.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(path, kept) is None:
        source, code = rewrite._rewrite_test(path, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)
