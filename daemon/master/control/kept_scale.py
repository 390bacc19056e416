"""The number of workers that `scale --persist` asked for, kept in the state directory across restarts of the daemon.

One small JSON file, replaced in one step. Reading and writing block: they are done in a thread, but for the one read
at the start. A file that cannot be read is no reason not to start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

NAME = "scale.json"
REMEDY = "set control.state_directory, or StateDirectory= in the systemd unit"


class KeptScale:
    """`value` is what the file holds, None without one. `error` says why the directory cannot be used, or is ""."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, NAME) if directory else ""
        self.value: int | None = None
        self.error = ""

    def __repr__(self) -> str:
        return f"<KeptScale {self.path!r} {self.value}>"

    def read(self, refusal: Callable[[int], str]) -> None:
        """Take what an earlier daemon has kept, unless there is a `refusal` of that number (its reason, or "")."""
        if not self.path:
            return
        try:
            with open(self.path, encoding="utf-8") as file:
                value = json.loads(file.read(1024))["workers"]
            if type(value) is not int:
                raise ValueError("it holds no number")
        except FileNotFoundError:
            return
        except OSError as error:
            self.error = f"{self.path} cannot be read: {error.strerror}"
        except (ValueError, KeyError, TypeError) as error:
            self.error = f"{self.path} is not what was written there: {error}"
        else:
            self.error = reason if (reason := refusal(value)) else ""
            self.value = None if self.error else value

    def write(self, value: int | None) -> None:
        """Replace the file, or remove it. Blocks until it is on the disk. Raises OSError."""
        try:
            if value is None:
                _remove(self.path)
            else:
                _replace(self.path, json.dumps({"workers": value}) + "\n")
        except OSError as error:
            self.error = f"{self.path} cannot be written: {error.strerror}"
            raise
        self.value, self.error = value, ""


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    _sync_directory(path)


def _replace(path: str, text: str) -> None:
    scratch = f"{path}.{os.getpid()}"
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        _remove_scratch(scratch)
        raise
    _sync_directory(path)


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_scratch(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
