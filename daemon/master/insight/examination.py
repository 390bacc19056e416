"""Looks at a daemon at rest, for `doctor`: its configuration, its processes, the host."""

from __future__ import annotations

import fnmatch
import glob
import os
import resource
import stat
import time
from collections.abc import Iterable, Iterator, Mapping

from miniwsgi.daemon import __version__
from miniwsgi.metrics.accept_queues import accept_queue
from miniwsgi.metrics.sampler import sample
from msgspec import Struct

from ...config import Config
from ...config.machine import available_cpus, memory_limit
from ...temporary import temporary_directory
from ..certificates.installed import Installed
from ..running.master import Master
from ..sockets.listeners import BoundListener
from ..supervising.worker_table import WorkerState
from .clock import is_synchronised
from .rest import Listening, LogFile, Rest, Room

DEBUG_VARIABLES = (
    "DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC",
    "WERKZEUG_DEBUG_PIN",
)  # fmt: skip
OFF = {"", "0", "false", "no", "off"}
LOCAL = ("127.", "::1", "localhost")
LOGROTATE = ("/etc/logrotate.conf", "/etc/logrotate.d/*")
MOST_FILES = 5000  # of the application that are looked at
NO_SOURCES = {"node_modules", "site-packages", "dist-packages", "__pycache__"}


class Told(Struct, frozen=True):
    """What others know of the daemon."""

    reload_error: str | None
    override: int | None
    persist_error: str
    metrics_error: str
    certificates: tuple[Installed, ...]


class Examination:
    """What is read of `master` at once, in its loop; `rest` reads the host, which may block."""

    def __init__(self, master: Master, told: Told) -> None:
        prepared, current = master.configurations.in_force, master.supervisor.turnover.current
        workers = list(master.supervisor.table.workers(WorkerState.READY))
        self._config = prepared.config
        self._environment = prepared.environment
        self._listeners = prepared.listeners
        self._told = told
        self._workers = master.supervisor.sizing.target
        self._pids = {worker.slot: worker.pid for worker in workers if worker.pid}
        self._loaded = time.time() - (time.monotonic() - min((one.forked_at for one in workers), default=0.0))
        self._preloaded = current.preloaded if current is not None else None
        self._engine = master.fleet.engine

    def rest(self) -> Rest:
        """Everything. Blocks."""
        config, told = self._config, self._told
        server, limits = config.server, config.limits
        return Rest(
            boot_check=config.app.boot_check,
            request_timeout=config.timeouts.request,
            wedge_timeout=config.timeouts.wedge,
            workers=self._workers,
            threads=server.threads,
            pool=server.pool,
            backlog=server.backlog,
            connections=limits.connections,
            log_level=config.log.level,
            reload_on_change=server.reload_on_change,
            trusted=tuple(map(str, config.proxy.trusted)),
            control_mode=config.control.mode if config.control.socket else 0,
            metrics_open=_metrics_open(config),
            max_rss=config.recycle.max_rss,
            preload=str(config.app.preload),
            preloaded=self._preloaded,
            engine=self._engine.name if self._engine is not None else None,
            engine_note=self._engine.why if self._engine is not None else "",
            reload_error=told.reload_error,
            override=told.override,
            persist_error=told.persist_error,
            metrics_error=told.metrics_error,
            environment=tuple(_debugging(self._environment)),
            pss_bytes=max((one.pss for one in sample(self._pids, self._pids).values() if one.pss), default=None),
            memory_limit=memory_limit(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            root=os.geteuid() == 0,
            listeners=tuple(map(_listening, self._listeners)),
            certificates=tuple(_certificates(told.certificates)),
            descriptors=_descriptors(self._pids.values()),
            synchronised=is_synchronised(),
            rooms=tuple(_rooms(config)),
            logs=tuple(_logs(config)),
            version=__version__,
            installed=_installed(),
            newer_source=_newer_source(config.app.directory, self._loaded) if self._pids else "",
            cpus=available_cpus(),
        )


def _metrics_open(config: Config) -> bool:
    metrics = config.metrics
    address = metrics.bind.address
    return bool(address) and not metrics.token_file and not metrics.allow and _is_public(address)


def _is_public(address: str) -> bool:
    """Whether others than this host reach it; of what others have opened that is not known."""
    if address.startswith(("unix:", "fd:", "systemd:")):
        return False
    return not address.removeprefix("[").startswith(LOCAL)


def _listening(listener: BoundListener) -> Listening:
    queue = accept_queue(listener.socket)
    host = "" if listener.unix else listener.socket.getsockname()[0]
    public = not listener.unix and not host.startswith(LOCAL)
    return Listening(listener.name, public, queue[1] if queue is not None else None)


def _certificates(installed: Iterable[Installed]) -> Iterator[tuple[str, float]]:
    now = time.time()
    for one in installed:
        for served in one.loaded.verified.served:
            yield ", ".join(served.names) or served.file, served.not_after - now


def _debugging(environment: Mapping[str, str]) -> Iterator[str]:
    for name in DEBUG_VARIABLES:
        if environment.get(name, "").lower() not in OFF:
            yield name if name == "WERKZEUG_DEBUG_PIN" else f"{name}={environment[name][:20]}"


def _descriptors(pids: Iterable[int]) -> int | None:
    """How many the worker may have that may have the fewest; None: there is none, or it is not ours to ask."""
    found = []
    for pid in pids:
        try:
            found.append(resource.prlimit(pid, resource.RLIMIT_NOFILE)[0])
        except (OSError, ValueError):
            continue
    return min(found, default=None)


def _rooms(config: Config) -> Iterator[Room]:
    for what, path in _written(config):
        try:
            found = os.statvfs(path)
        except OSError:
            continue
        inodes = found.f_favail / found.f_files if found.f_files else 1.0
        share = min(found.f_bavail / found.f_blocks if found.f_blocks else 1.0, inodes)
        yield Room(f"{what} {path}", found.f_bavail * found.f_frsize, share)


def _written(config: Config) -> Iterator[tuple[str, str]]:
    yield from _log_files(config)
    try:
        yield "request bodies", config.server.spool_directory or temporary_directory()
    except FileNotFoundError:
        pass
    if config.control.state_directory:
        yield "control.state_directory", config.control.state_directory


def _logs(config: Config) -> Iterator[LogFile]:
    for key, path in _log_files(config):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield LogFile(key, path, status.st_size, _is_rotated(path))


def _log_files(config: Config) -> Iterator[tuple[str, str]]:
    """Those that are written to a file, by key."""
    for key, path in (("log.file", config.log.file), ("log.access_log", config.log.access_log)):
        if path.startswith("/"):
            yield key, path


def _is_rotated(path: str) -> bool:
    """Whether older parts lie beside it, or logrotate's configuration names it."""
    escaped = glob.escape(path)
    if glob.glob(f"{escaped}.[0-9]*") or glob.glob(f"{escaped}-[0-9]*") or glob.glob(f"{escaped}*.gz"):
        return True
    for file in (name for pattern in LOGROTATE for name in glob.glob(pattern)):
        try:
            with open(file, encoding="utf-8", errors="replace") as opened:
                words = opened.read(1 << 16).replace('"', " ").replace("{", " ").split()
        except OSError:
            continue
        if any(word.startswith("/") and fnmatch.fnmatch(path, word) for word in words):
            return True
    return False


def _installed() -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # a megabyte, with email and zipfile

    try:
        return version("miniwsgi")
    except PackageNotFoundError:
        return None


def _newer_source(directory: str, loaded: float) -> str:
    """A source file of the application that has changed after `loaded` (seconds since 1970); "" if none has."""
    seen = 0
    for root, directories, files in os.walk(directory):
        directories[:] = [
            name
            for name in directories
            if name not in NO_SOURCES and name[0] != "." and not os.path.exists(f"{root}/{name}/pyvenv.cfg")
        ]
        for name in files:
            if name.endswith(".py"):
                seen += 1
                try:
                    changed = os.stat(f"{root}/{name}").st_mtime
                except OSError:
                    continue
                if changed > loaded:
                    return os.path.relpath(f"{root}/{name}", directory)
        seen += len(directories)
        if seen > MOST_FILES:
            break
    return ""
