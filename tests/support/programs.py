"""Programs that are no Python packages. Who lacks one is told its Debian package; `make test` as root installs them.

The Makefile's TEST_TOOLS names them. A skip says `(Debian: PACKAGE)`: tests/support/skips.py knows it by that.
"""

from __future__ import annotations

import os
import shutil

import pytest


def which(command: str) -> str | None:
    """Its path. Debian has some where only root looks."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def lacking(command: str, package: str = "") -> str:
    """Why a test has to do without it, or "" if it is there."""
    return "" if which(command) else f"{command} is not installed (Debian: {package or command})"


def program(command: str, package: str = "") -> str:
    """Its path; without it, the test is skipped."""
    found = which(command)
    if found is None:
        pytest.skip(lacking(command, package))
    return found


def needs(command: str, package: str = "") -> pytest.MarkDecorator:
    """The mark of a test that is skipped without it."""
    return pytest.mark.skipif(which(command) is None, reason=lacking(command, package))
