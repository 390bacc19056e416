"""What `doctor` has looked at: the configuration in force, the daemon as it is, the host. None: not to be seen."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class Room(NamedTuple):
    """The file system that something is written to."""

    what: str  # "log.file /var/log/miniwsgi/error.log"
    free_bytes: int  # for who is not root
    free_share: float  # 0 to 1, of bytes or of inodes, whichever is less


class LogFile(NamedTuple):
    """A log that is written to a file of its own."""

    key: str
    path: str
    size_bytes: int
    rotated: bool  # an older part lies beside it, or logrotate knows it


class Listening(NamedTuple):
    """A listening socket."""

    name: str
    public: bool  # others than this host can reach it
    limit: int | None  # connections that its accept queue has room for, by the kernel


class Rest(Struct, frozen=True, kw_only=True):
    """All of it. Settings have the names and units of docs/configuration.md."""

    boot_check: str = ""
    request_timeout: float = 0.0
    wedge_timeout: float = 30.0
    workers: int = 2
    threads: int = 8
    pool: str = "epoll"
    backlog: int = 2048
    connections: int = 10000
    log_level: str = "info"
    reload_on_change: bool = False
    trusted: tuple[str, ...] = ()
    control_mode: int = 0o660
    metrics_open: bool = False  # anybody who reaches this host can read the metrics
    max_rss: int = 0
    preload: str = "auto"

    preloaded: bool | None = None  # None: no generation is in force
    engine: str | None = None
    engine_note: str = ""
    reload_error: str | None = None  # why the last reload failed; None: it did not
    override: int | None = None  # of workers, until a restart
    persist_error: str = ""
    metrics_error: str = ""
    environment: tuple[str, ...] = ()  # NAME=value of the application's that switch debugging on
    pss_bytes: int | None = None  # the largest worker's share of memory
    memory_limit: int | None = None  # of the cgroups, in bytes; None: there is none
    memory_bytes: int | None = None  # of the host
    root: bool = False  # the application runs as root
    listeners: tuple[Listening, ...] = ()
    certificates: tuple[tuple[str, float], ...] = ()  # the names of each, and the seconds that it is still good for
    descriptors: int | None = None  # that a worker may have open
    synchronised: bool | None = None  # the clock, by the kernel's account
    rooms: tuple[Room, ...] = ()
    logs: tuple[LogFile, ...] = ()
    version: str = ""  # that runs
    installed: str | None = None  # that lies on disk
    newer_source: str = ""  # a file of the application that has changed since it was loaded
    cpus: int = 1
