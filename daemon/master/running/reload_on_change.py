"""Reload on change: for development. watchfiles tells of changed files, and a reload is asked for.

It waits in a thread of its own that the event loop does not wait for. Without the package it is one log
line.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch

from ...config import Config
from .master import Master

REMEDY = "reload_on_change needs the package watchfiles: pip install 'miniwsgi[dev]'"
MAX_NAMES = 3
SUFFIXES = (".py", ".pyi", ".toml", ".env", ".html", ".jinja", ".j2", ".mo")


class ReloadOnChange:
    """Reload on change, as the configuration in force wants it."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._loop = asyncio.get_running_loop()
        self._watch: FileWatch | None = None

    def watch(self, config: Config) -> None:
        """Called with each configuration that comes into force."""
        paths = watched(config) if config.server.reload_on_change else ()
        if self._watch is not None and self._watch.paths == paths:
            return
        self.stop()
        if paths:
            self._watch = FileWatch(paths, self._changed)
            try:
                self._watch.start()
            except ImportError:
                self._master.log.error(Code.WATCHFILES_MISSING, REMEDY)
                self._watch = None

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _changed(self, what: str) -> None:
        """In the watch's thread."""
        try:
            self._loop.call_soon_threadsafe(self._master.feed, ch.Reload(who=what))
        except RuntimeError:
            pass  # the loop has ended


def watched(config: Config) -> tuple[str, ...]:
    """The directories and files whose changes call for a reload."""
    file = config.app.target.partition(":")[0]
    beside = os.path.dirname(file)  # absolute, if a file is served
    apart = beside and os.path.relpath(beside, config.app.directory).startswith("..")
    return (config.app.directory, *([beside] if apart else []), *([config.path] if config.path else []))


class FileWatch:
    """Calls `changed` with what has changed, in words, from its own thread."""

    def __init__(self, paths: Sequence[str], changed: Callable[[str], None]) -> None:
        self.paths = tuple(paths)
        self._changed = changed
        self._stop = threading.Event()

    def __repr__(self) -> str:
        return f"<FileWatch {self.paths}>"

    def start(self) -> None:
        """Raises ImportError without watchfiles."""
        import watchfiles

        threading.Thread(target=self._run, args=(watchfiles,), name="miniwsgi-changes", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self, watchfiles: object) -> None:
        from watchfiles import DefaultFilter, watch

        names = DefaultFilter()
        for changes in watch(
            *self.paths,
            watch_filter=lambda change, path: path.endswith(SUFFIXES) and names(change, path),
            stop_event=self._stop,
            raise_interrupt=False,
        ):
            self._changed(describe_changes([path for _change, path in changes]))


def describe_changes(paths: Sequence[str]) -> str:
    """ "a change of app.py, views.py" """
    names = sorted({os.path.basename(path) for path in paths})
    more = ", …" if len(names) > MAX_NAMES else ""
    return f"a change of {', '.join(names[:MAX_NAMES])}{more}"
