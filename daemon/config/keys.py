"""Every configuration key, declared once: name, kind, default, command-line flag, one line of documentation.

The sections are frozen dataclasses; a field's `key(…)` carries what the loader, `--help`, `miniwsgi config`
and the reference in docs/configuration.md need. Durations are seconds, sizes bytes, paths absolute. A key
that can be off is 0 or "" then; "off", false, 0 and "" all say it (`kinds.is_off`). A default that depends on
the machine is computed at each load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..engine import choice
from . import machine
from .addresses import Account, Bind, Grantee, Network, Peer
from .declaration import Key, key
from .kinds import Boolean, Choice, Many, MismatchError, Mode, Path, Text, Variables
from .numbers import Duration, Integer, Size

MAX_WORKERS = 200  # with the same number draining and `surge` booting, they fit the scoreboard's 512 slots
MAX_SURGE = 100
DAY = 86400.0
TIB = 1 << 40


_URL_PATH = r"/[\x21\x23-\x7e]*"


def _log_format(text: str) -> str:
    from ..log.access_log import compile_format

    if text.strip().lower() == "off":
        raise MismatchError('a format; log.access_log = "off" turns the access log off')
    try:
        compile_format(text)
    except ValueError as error:
        raise MismatchError(f"a format that can be used: {error}") from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The application: what to import, from where, with which interpreter and environment."""

    module: str = key(
        Text('the application, as "package.module:attribute" or "package.module"', r"[^\s\x00-\x1f]*"),
        "",
        "The WSGI application as package.module:attribute. A plain package.module looks for `application`, "
        "then `app`. Either this or `factory` is required.",
        flag="MODULE",
    )
    factory: str = key(
        Text('a callable that makes the application, as "package.module:create_app"', r"[^\s\x00-\x1f]*"),
        "",
        "A callable without arguments that returns the application. A plain package.module looks for "
        "`create_app`, then `make_app`.",
        flag="--factory",
    )
    directory: str = key(
        Path("directory"),
        "",
        "The working directory of the application, first on its import path.",
        flag="--chdir",
        compute=lambda around: around.directory,
        computed="the current directory",
    )
    python: str = key(
        Path("program"),
        "",
        "The Python interpreter that runs the application, such as that of its own virtual environment "
        "(miniwsgi need not be installed there).",
        flag="--python",
        compute=lambda _around: machine.interpreter(),
        computed="the interpreter that runs miniwsgi",
    )
    preload: str = key(
        Choice("auto", "true", "false"),
        "auto",
        "Import the application once, before the workers are forked: memory is shared, and all workers of a "
        "generation run the same code. auto: in each worker, if the import left what "
        "they must not share, such as threads, locks, processes or connections (operations.md).",
        flag="--preload",
    )
    env: Mapping[str, str] = key(
        Variables(),
        {},
        "Environment variables for the application. They win over `env_files` and the daemon's environment.",
        flag="--env",
        secret=True,
    )
    env_files: tuple[str, ...] = key(
        Many(Path("file")),
        (),
        "Files of NAME=value lines, read again at each reload; later files win over earlier ones.",
    )
    boot_check: str = key(
        Text('a path such as "/health"', _URL_PATH, off=True),
        "",
        "A path that each new worker must answer with a status below 400 before it counts as ready.",
    )

    @property
    def target(self) -> str:
        """What is served, whichever of the two keys names it."""
        return self.factory or self.module


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to listen, how many workers, as whom."""

    bind: tuple[str, ...] = key(
        Many(Bind(), low=1),
        ("127.0.0.1:8000",),
        "Where to listen: HOST:PORT, :PORT (every address), [IPV6]:PORT ([::]:PORT serves IPv4 "
        "too, unless an IPv4 address or a name has the same port), unix:/path, unix:@abstract, fd:N, "
        "systemd:NAME (the sockets of that name from socket activation).",
        flag="--bind",
    )
    pool: str = key(
        Choice("epoll", "prefork", "fork", "single"),
        "epoll",
        "How a worker waits and runs: epoll (many connections, threads when the application blocks), prefork "
        "(one request at a time), fork (a process for each connection), single (one foreground process, "
        "without a master: for debuggers).",
        flag="--pool",
    )
    engine: str = key(
        Choice(choice.AUTO, *choice.names()),
        choice.AUTO,
        "What runs requests: plain, in Python. auto: the fastest that the application's interpreter can run; "
        "`miniwsgictl status` says which that is.",
        flag="--engine",
    )
    workers: int = key(
        Integer(1, MAX_WORKERS),
        1,
        "Worker processes.",
        flag="--workers",
        compute=lambda _around: min(machine.available_cpus(), MAX_WORKERS),
        computed="the CPUs this process may use",
    )
    threads: int = key(
        Integer(1, 256),
        8,
        "Threads a worker that may run the application at the same time (pool epoll); with 1 the application "
        "always runs on the main thread. In pool fork: connections a worker serves at the same time.",
        flag="--threads",
    )
    user: str = key(
        Account("user"),
        "",
        "The user to become once the listeners are open. A reload reads the configuration as this user.",
        flag="--user",
    )
    group: str = key(Account("group"), "", "The group to become; default: that of `user`.", flag="--group")
    umask: int | None = key(
        Mode(optional=True),
        None,
        'The file mode creation mask, in octal: "0027". Default: unchanged.',
        flag="--umask",
    )
    pid_file: str = key(Path(off=True), "", "A file for the master's process id.", flag="--pid-file")
    reload_on_change: bool = key(
        Boolean(),
        False,
        "Reload when a source file of the application changes. For development; needs the `dev` extra.",
        flag="--reload-on-change",
    )
    script_name: str = key(
        Text('a prefix such as "/shop", without a slash at its end', r"(/[\x21-\x2e\x30-\x7e]+)*"),
        "",
        "The prefix under which the application is mounted (SCRIPT_NAME).",
    )
    server_header: str = key(
        Text("a text without control characters", r"[\x20-\x7e\xa0-\xff]+", off=True),
        "miniwsgi",
        "The Server field of responses that have none of their own.",
    )
    request_id_header: str = key(
        Text("the name of a header field", r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", off=True),
        "",
        "Name of the response field that carries the request's id, such as X-Request-ID. Off by default: it costs.",
    )
    backlog: int = key(
        Integer(1, 65535),
        2048,
        "Connections that may wait to be accepted, for each listener; the kernel caps it at net.core.somaxconn.",
    )
    socket_mode: int = key(Mode(), 0o666, "Permission bits of Unix sockets in `bind`.")
    socket_owner: str = key(Account("user"), "", "Owner of Unix sockets in `bind`. Default: unchanged.")
    socket_group: str = key(Account("group"), "", "Group of Unix sockets in `bind`. Default: unchanged.")
    surge: int = key(
        Integer(0, MAX_SURGE),
        0,
        "Workers that a reload may start beyond `workers`. 0: a quarter of them, at least one.",
    )
    stop_delay: float = key(
        Duration(0, 3600),
        0.0,
        "How long a stop goes on accepting, so that load balancers notice; each response then closes its connection.",
    )
    switch_interval: float = key(
        Duration(0.00001, 1),
        0.0005,
        "How long a thread may hold the interpreter while others wait (sys.setswitchinterval).",
    )
    spool_directory: str = key(
        Path("directory", off=True),
        "",
        "Where request bodies beyond limits.body_memory are kept. off: $TMPDIR, /tmp or /var/tmp.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may ask for. Beyond it: the status in brackets."""

    request_line: int = key(Size(64, 1 << 20), 8190, "The request line (414).")
    field_size: int = key(Size(64, 1 << 20), 16 * 1024, "One header field (431).")
    fields: int = key(Integer(1, 10_000), 100, "The number of header fields (431).")
    fields_size: int = key(Size(256, 1 << 24), 64 * 1024, "All header fields together (431).")
    body_max: int = key(Size(1, TIB, off=True), 100 * 1024 * 1024, "A request's body (413). off: no limit.")
    body_memory: int = key(
        Size(0, 1 << 30),
        256 * 1024,
        "How much of a body is kept in memory; a larger one goes to a temporary file.",
    )
    connections: int = key(Integer(1, 1_000_000), 10_000, "Open connections a worker; beyond it, none is accepted.")
    in_flight: int = key(
        Integer(1, 1_000_000, off=True),
        0,
        "Requests a worker that run or wait (503 with Retry-After). For pool epoll with 2 threads or more.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long things may take."""

    head: float = key(Duration(0.1, DAY), 10.0, "To receive a request's head (408).")
    body: float = key(Duration(0.1, DAY), 10.0, "How long a request's body may take before minimum_rate counts (408).")
    send: float = key(Duration(0.1, DAY), 10.0, "How long sending a response may take before minimum_rate counts.")
    minimum_rate: int = key(
        Size(1, 1 << 30, off=True), 500, "Bytes a second that a client must send or take after that. off: none."
    )
    keep_alive: float = key(
        Duration(0.1, DAY, off=True),
        75.0,
        "How long an idle connection is kept for the next request. off: each response closes its connection.",
    )
    request: float = key(
        Duration(0.1, DAY, off=True),
        0.0,
        "How long the application may take for a request (504; its worker is replaced).",
    )
    boot: float = key(Duration(0.1, DAY), 60.0, "For a worker to become ready.")
    graceful: float = key(Duration(0, DAY), 30.0, "For what runs to finish when a worker drains or the daemon stops.")
    wedge: float = key(
        Duration(1, DAY, off=True), 30.0, "A worker whose loop has not turned for this long is replaced."
    )
    drain_idle: float = key(Duration(0, 3600), 2.0, "How long a draining worker still answers on idle connections.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycle:
    """When a worker is replaced, its successor first."""

    max_requests: int = key(Integer(1, 10**12, off=True), 0, "After this many requests.")
    max_requests_jitter: int = key(
        Integer(0, 10**12),
        0,
        "A random number up to this is added to max_requests, so that workers go one by one.",
        compute=lambda around: around.values["recycle.max_requests"] // 10,
        computed="a tenth of max_requests",
    )
    max_lifetime: float = key(Duration(1, 366 * DAY, off=True), 0.0, "After this long.")
    max_rss: int = key(
        Size(1 << 20, TIB, off=True),
        0,
        "When its resident memory exceeds this: replaced in peace, before the kernel kills it.",
        compute=lambda _around: machine.memory_ceiling(),
        computed="nine tenths of the cgroup's memory limit; off without one",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Whose word counts about the client."""

    trusted: tuple[str, ...] = key(
        Many(Peer()),
        (),
        'Addresses and networks of proxies whose word about the client counts; "unix" for every peer on a Unix socket.',
    )
    fields: str = key(
        Choice("x-forwarded", "forwarded"),
        "x-forwarded",
        "Which fields the trusted proxies set: X-Forwarded-For and X-Forwarded-Proto, or Forwarded (RFC 7239). The "
        "other ones are not read: a proxy passes them on as a client sent them.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is written where."""

    level: str = key(
        Choice("debug", "info", "warning", "error"), "info", "What the error log holds.", flag="--log-level"
    )
    format: str = key(Choice("text", "json"), "text", "How the error log's lines are written.", flag="--log-format")
    file: str = key(Path(words=("-",)), "-", 'The error log: a path (reopened on SIGUSR1), or "-" for standard error.')
    access_log: str = key(
        Path(off=True, words=("-",)),
        "",
        'The access log: a path (reopened on SIGUSR1), or "-" for standard output.',
        flag="--access-log",
    )
    access_log_format: str = key(
        Text('"combined", "common", "json" or a format such as "%(h)s %(r)s %(s)s"', check=_log_format),
        "combined",
        "combined, common, json, or a format string with %(name)s atoms as gunicorn's.",
    )
    application_level: str = key(
        Choice("debug", "info", "warning", "error"),
        "info",
        "The level of what the application prints, logs to standard error or writes to wsgi.errors. Tracebacks are "
        "errors, and a line that begins with <0> to <7> has that priority (sd-daemon(3)).",
    )
    slow_request: float = key(
        Duration(0.1, DAY, off=True),
        5.0,
        "A request that has run for so long is told once, in the error log and among the events.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The control API's Unix socket."""

    socket: str = key(
        Path(off=True),
        "",
        "The Unix socket of the control API. By default control.sock in $RUNTIME_DIRECTORY (systemd's "
        "RuntimeDirectory=), as root in /run/miniwsgi, otherwise in $XDG_RUNTIME_DIR/miniwsgi; off without these.",
        flag="--control",
        compute=lambda around: machine.control_socket(around.environ, around.uid),
        computed="control.sock in the runtime directory",
    )
    mode: int = key(Mode(), 0o660, "Permission bits of the socket.")
    group: str = key(Account("group"), "", "Group of the socket. Default: unchanged.")
    required: bool = key(
        Boolean(), False, "Do not start without it. Otherwise an unwritable path is a line in the log."
    )
    read: tuple[str, ...] = key(
        Many(Grantee()),
        (),
        'Users and groups ("@name") that may look. Root and the daemon\'s own user may do everything.',
    )
    operate: tuple[str, ...] = key(
        Many(Grantee()), (), "Those that may also scale, reload, restart, drain, and dump stacks."
    )
    admin: tuple[str, ...] = key(Many(Grantee()), (), "Those that may do everything, such as stop.")
    state_directory: str = key(
        Path("directory", off=True),
        "",
        "Where `scale --persist` keeps its number across restarts of the daemon.",
        compute=lambda around: machine.state_directory(around.environ),
        computed="$STATE_DIRECTORY (systemd's StateDirectory=)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Prometheus metrics and health endpoints, apart from the application."""

    bind: str = key(
        Bind(off=True),
        "127.0.0.1:9464",
        "Where they are served: an address as in server.bind, apart from it. Unix sockets get server.socket_mode, "
        "socket_owner and socket_group. If the default is in use, that is a line in the log.",
        flag="--metrics-bind",
    )
    token_file: str = key(
        Path("file", off=True),
        "",
        "A file with a token, without which there is only health: no metrics, no status page. Read again at each "
        "reload.",
    )
    allow: tuple[str, ...] = key(
        Many(Network()),
        (),
        "Addresses and networks that may connect, beside loopback and Unix sockets; none: all. Probes are not "
        "excepted.",
    )
    ready_min: int = key(Integer(1, MAX_WORKERS), 1, "Ready workers without which /readyz says 503.")
    application: bool = key(
        Boolean(),
        True,
        "What the application counts with prometheus_client is served, too. Not if its environment has "
        "PROMETHEUS_MULTIPROC_DIR: it sees to that itself.",
    )
    fine_buckets: bool = key(
        Boolean(), False, "Duration histograms also have buckets of 0.5, 1 and 2.5 ms: for applications that fast."
    )


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "app": App,
        "server": Server,
        "limits": Limits,
        "timeouts": Timeouts,
        "recycle": Recycle,
        "proxy": Proxy,
        "log": Log,
        "control": Control,
        "metrics": Metrics,
    }
)
KEYS: Mapping[str, Key] = MappingProxyType(
    {
        f"{section}.{field.name}": dataclasses.replace(field.metadata["key"], path=f"{section}.{field.name}")
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
    }
)
