"""The directories of static files, opened once for all workers of a generation.

A release is put live by switching a symbolic link and reloading: until then each worker, also one that is started
later, serves what the link led to when its generation began.
"""

from __future__ import annotations

from miniwsgi.codes import Code

from ..permission import why_not
from ..settings import Settings
from . import children
from .application import BootError


def with_open_directories(settings: Settings) -> Settings:
    """The same settings, with descriptors. Raises BootError."""
    if not settings.static:
        return settings
    from ..static.directory import open_directory

    entries = []
    for number, entry in enumerate(settings.static):
        try:
            fd = open_directory(entry.directory)
        except OSError as error:
            what = f"static[{number}].directory {entry.directory} cannot be opened: {why_not(entry.directory, error)}"
            raise BootError(Code.DIRECTORY_UNUSABLE, what) from None
        entries.append(entry._replace(fd=fd))
    children.withhold("static", lambda: (entry.fd for entry in entries))
    return settings._replace(static=tuple(entries))
