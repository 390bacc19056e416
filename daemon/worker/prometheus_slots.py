"""Has prometheus_client, if the application imports it, keep its values by slot instead of by pid.

`install` is called in a launcher before the application is imported, `become_worker` in each worker. Nothing of
prometheus_client is imported here, and nothing happens until the application does: then its choice of a value class
is made anew, with our identity of a process. A process takes a place (see metrics.value_files) when it first needs
one and keeps it until it ends; processes that the application forks take places of their own. Whatever goes wrong
here, the application still has its metrics: by pid, as prometheus_client would have it.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from miniwsgi.metrics import value_files
from miniwsgi.metrics.value_files import GAUGE_KINDS, KINDS, LIVE_KINDS, LOCKS, PLACES, file_name, lock_offset

from ..unpatched import os

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PATCHED = "prometheus_client.values"


class _Places:
    """Which place this process has. A fork makes a new process of it, which has none yet."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.slot = -1  # of the worker, also in what it forks; -1 in a launcher
        self.worker_pid = 0
        self.timed = True  # the layout of the application's prometheus_client
        self._pid = 0  # the process that `_identity` is of
        self._identity = ""
        self._locks_pid, self._locks_fd = 0, -1

    def __repr__(self) -> str:
        return f"<_Places slot={self.slot} {self._identity!r}>"

    def identity(self) -> str:
        """prometheus_client's process_identifier: called at every change of a value, under its lock."""
        if self._pid != os.getpid():
            self._identity = self._take()
            self._pid = os.getpid()
        return self._identity

    def locks(self) -> int:
        """This process's descriptor of the lock file. To close any other would let go of its locks. Raises OSError."""
        if self._locks_pid != os.getpid():
            path = os.path.join(self.directory, LOCKS)
            self._locks_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._locks_pid = os.getpid()
        return self._locks_fd

    def _take(self) -> str:
        try:
            locks_fd = self.locks()
            for identity in self._candidates():
                if _lock(locks_fd, identity):
                    self._tidy(identity)
                    return identity
        except OSError:
            pass
        return str(os.getpid())

    def _candidates(self) -> Iterator[str]:
        if self.slot < 0:
            yield from (f"boot{number}" for number in range(PLACES))
            return
        if os.getpid() == self.worker_pid:
            yield f"slot{self.slot}"
        yield from (f"slot{self.slot}-{number}" for number in range(PLACES - 1))

    def _tidy(self, identity: str) -> None:
        """What the place's last process left: its gauges that are of the living go, the rest has to be readable.

        Of an import no gauge stays: the next one says anew how things are.
        """
        for kind in GAUGE_KINDS if identity.startswith("boot") else LIVE_KINDS:
            _remove(os.path.join(self.directory, file_name(kind, identity)))
        for kind in KINDS:
            try:
                value_files.mend(os.path.join(self.directory, file_name(kind, identity)), self.timed)
            except FileNotFoundError:
                pass


_places: _Places | None = None


def install(directory: str) -> None:
    """In a launcher: have prometheus_client keep its files in `directory`. "": leave it alone."""
    global _places  # noqa: PLW0603 # prometheus_client's choice is the process's, too
    if not directory:
        return
    os.environ[VARIABLE] = directory
    _places = _Places(directory)
    if (module := sys.modules.get(PATCHED)) is not None:  # of a .pth file or sitecustomize
        _patch(module)
    sys.meta_path.insert(0, _Finder())


def become_worker(slot: int) -> None:
    """In a worker that was just forked: its values are those of `slot`."""
    if _places is not None:
        _places.slot, _places.worker_pid = slot, os.getpid()


def remove_live_gauges(slot: int) -> None:
    """In a launcher, before it tells that the worker of `slot` has ended: the gauges of the living go.

    What the worker forked and left running keeps its own.
    """
    if _places is None:
        return
    try:
        for name in os.listdir(_places.directory):
            parts = value_files.split_name(name)
            if parts is None or parts[0] not in LIVE_KINDS or not _is_of(slot, parts[1]):
                continue
            if not value_files.is_held(_places.locks(), parts[1]):
                _remove(os.path.join(_places.directory, name))
    except OSError:
        pass  # the merge knows all the same that they are dead


def _is_of(slot: int, identity: str) -> bool:
    return identity == f"slot{slot}" or identity.startswith(f"slot{slot}-")


def _lock(locks_fd: int, identity: str) -> bool:
    try:
        fcntl.lockf(locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, lock_offset(identity) or 0)
    except (BlockingIOError, PermissionError):
        return False  # somebody has it: EAGAIN or EACCES, fcntl(2)
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# --- the hook -------------------------------------------------------------------------------------


def _patch(module: ModuleType) -> None:
    """`module` is prometheus_client.values, just executed; no metric is made yet."""
    if _places is None or not hasattr(module, "MultiProcessValue"):
        return
    mmap_dict = sys.modules.get("prometheus_client.mmap_dict")
    _places.timed = mmap_dict is None or hasattr(mmap_dict, "_unpack_two_doubles")
    made: Any = module
    made.ValueClass = made.MultiProcessValue(_places.identity)


class _Finder:
    """Finds one module, as the other finders do, and has it patched when it was executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PATCHED:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _patch_after(spec.loader)
                return spec
        return None


def _patch_after(loader: Any) -> None:
    execute: Callable[[ModuleType], None] = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        if module.__name__ == PATCHED:
            _patch(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        pass  # a loader of an unusual kind: values are kept by pid
