"""Where the file of a frame is from, by its path: the standard library, or what was installed beside it."""

from __future__ import annotations

from ..unpatched import os

_STDLIB = ("<frozen ", os.path.dirname(os.path.abspath(os.__file__)) + os.sep)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_installed(file: str) -> bool:
    """Whether it belongs to a package that was installed."""
    return any(packages in file for packages in _PACKAGES)


def is_stdlib(file: str) -> bool:
    """Whether it is the standard library's, below which packages may lie."""
    return file.startswith(_STDLIB) and not is_installed(file)
