"""The logs that the master has open: its error log, and the access logs for workers that are gone.

After a rotation they are opened again, and a reload may bring other ones. Files are opened by threads, for a file
system may hang; what goes wrong is said in the log that stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

from miniwsgi.codes import Code
from miniwsgi.manager.daemon_threads import DaemonThreads

from ...config import Config
from ...log.error_log import ErrorLog, detect_journal
from ...log.journal import open_journal
from ...log.writer import Writer
from ...permission import user, why_not_written
from ..system.keeper import Keeper
from .last_words import LastWords

CLOSE_SECONDS = 3.0  # for what waits in a log that another one replaces


class OpenLogs:
    """`log` is the master's own, `last_words` has the access logs."""

    def __init__(self, log: ErrorLog, last_words: LastWords, threads: DaemonThreads) -> None:
        self.keeper: Keeper | None = None  # makes files where only root may
        self._log = log
        self._last_words = last_words
        self._threads = threads
        self._file = ""  # of the error log, as the last reload has it

    def __repr__(self) -> str:
        return f"<OpenLogs {self._log.writer}>"

    async def reopen(self) -> bool:
        """After a rotation. False if one cannot be opened, which is logged."""
        keeper = self.keeper
        try:
            problems = await self._threads.run(lambda: self._reopen(keeper))
        except OSError as error:
            problems = [f"log files cannot be opened again: {error.strerror}"]
        for problem in problems:
            self._log.error(Code.LOG_UNUSABLE, problem)
        return not problems

    def _reopen(self, keeper: Keeper | None) -> list[str]:
        if keeper is not None:
            try:
                keeper.make_logs()
            except OSError:
                pass  # what it left out is said to be missing now
        return [why for reopen in (self._log.writer.reopen, self._last_words.reopen) if (why := _reopened(reopen))]

    async def change(self, old: Config, new: Config) -> None:
        """Another configuration is in force."""
        if (new.log.access_log, new.log.access_log_format) != (old.log.access_log, old.log.access_log_format):
            self._last_words.forget()
        if new.log.file != old.log.file:
            await self._replace(new.log.file, old.log.file)
        changed = {new.log.file, new.log.access_log} - {old.log.file, old.log.access_log}
        if self.keeper is not None and (paths := sorted(path for path in changed if path.startswith("/"))):
            for problem in await self._threads.run(partial(_not_made_again, paths, self.keeper.log_paths)):
                self._log.warning(Code.LOG_UNUSABLE, problem)

    async def _replace(self, file: str, old_file: str) -> None:
        self._file = file
        try:
            writer, why = await self._threads.run(partial(_opened, file))
        except OSError as error:
            writer, why = None, error.strerror or str(error)
        if file != self._file:  # another reload has come, and its disk was faster
            if writer is not None:
                _close(writer)
            return
        if writer is None:
            self._log.error(Code.LOG_UNUSABLE, f"log.file {file} cannot be opened: {why}; it stays {old_file}")
            return
        before = self._log.writer
        writer.notice = before.notice
        self._log.writer, self._log.journal = writer, file == "-" and detect_journal()
        _close(before)


def _close(writer: Writer) -> None:
    """A thread does it."""
    threading.Thread(target=writer.close, args=(CLOSE_SECONDS,), daemon=True).start()


def _opened(file: str) -> tuple[Writer | None, str]:
    """The error log, or why it cannot be opened. Blocks, as what follows."""
    try:
        if file != "-":
            return Writer(file), ""
        return (open_journal() if detect_journal() else Writer(2)), ""
    except OSError as error:
        return None, why_not_written(file, error)


def _reopened(reopen: Callable[[], None]) -> str:
    """Why not; "" if it is."""
    try:
        reopen()
    except OSError as error:
        path = str(error.filename or "")
        why = why_not_written(path, error) if path else error.strerror
        return f"log file {path} cannot be opened again: {why}; the old one stays in use"
    return ""


def _not_made_again(paths: list[str], kept: frozenset[str]) -> list[str]:
    """Which of `paths` nobody will make after a rotation: those of the start are the process's that stays root."""
    return [
        f"log file {path}: {user()} may make none in {os.path.dirname(path)}, and only those of the start are made by "
        "root: after a rotation it is missing, until a restart"
        for path in paths
        if path not in kept and not os.access(os.path.dirname(path), os.W_OK | os.X_OK)
    ]
