"""The keys that say what is served, and how: the application, where it listens, what clients may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..engine import choice
from . import machine
from .addresses import Served, SystemAccount
from .binds import Bind, BindEntry
from .declaration import key
from .kinds import Boolean, Choice, Many, MismatchError, Mode, Path, Text, Variables
from .numbers import Duration, Integer, Size

MAX_WORKERS = 200  # with the same number draining and `surge` booting, they fit the scoreboard's 512 slots
MAX_SURGE = 100
DAY = 86400.0
TIB = 1 << 40

_MODULE = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_URL_PATH = r"/[\x21\x23-\x7e]*"

MAX_REVISION_CHARS = 64


def _revision(text: str) -> str:
    """As it may stand in lines and labels. Raises MismatchError."""
    text = text.strip()
    if not text or not text.isprintable() or len(text) > MAX_REVISION_CHARS:
        raise MismatchError(f"1 to {MAX_REVISION_CHARS} printable characters")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSection:
    """The application: what to import, from where, with which interpreter and environment."""

    module: str = key(
        Served("the application", "app"),
        "",
        "The WSGI application as package.module:attribute, or in a file, as ./shop.py or ./shop.py:app. Without an "
        "attribute `application`, `app` and `wsgi` are looked for, then `create_app` and `make_app`, which are called. "
        "Either this or `factory` is required.",
        flag="MODULE",
    )
    factory: str = key(
        Served("a callable that makes the application", "create_app"),
        "",
        'A callable that returns the application, which may have literal arguments: shop:create_app("x", debug=False). '
        "Without an attribute `create_app`, then `make_app` is looked for.",
        flag="--factory",
    )
    directory: str = key(
        Path("directory"),
        "",
        "The working directory of the application, first on its import path.",
        flag="--chdir",
        compute=lambda around: around.home,
        computed="the current directory, or the project's",
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
    hooks: str = key(
        Text('a module such as "shop.hooks"', _MODULE, off=True),
        "",
        "A module of the application whose functions are called as workers come and go: `loaded`, `worker_start`, "
        "`worker_ready`, `worker_drain`, `worker_stop`, and `leader_start` and `leader_stop` in one worker alone "
        "(hooks.md). off: none.",
        flag="--hooks",
    )
    boot_check: str = key(
        Text('a path such as "/health"', _URL_PATH, off=True),
        "",
        "A path that each new worker must answer with a status below 400 before it counts as ready.",
    )
    revision: str = key(
        Text('"auto", or a revision such as "a1b2c3d" or "2026.11"', check=_revision, off=True),
        "auto",
        "Which revision of the application's code a generation runs, as it is shown beside the generation's number. "
        "auto: found as it boots, where the module lies: the git commit, a file REVISION, the target of a symbolic "
        "link (current -> releases/20261129), or the version of the installed distribution (insight.md). off: none.",
    )

    @property
    def target(self) -> str:
        """What is served, whichever of the two keys names it."""
        return self.factory or self.module


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSection:
    """Where to listen, how many workers, as whom."""

    bind: tuple[Bind, ...] = key(
        Many(BindEntry(), low=1),
        (Bind(address="127.0.0.1:8000"),),
        "Where to listen: HOST:PORT, :PORT (every address), [IPV6]:PORT ([::]:PORT serves IPv4 "
        "too, unless an IPv4 address or a name has the same port), unix:/path, unix:@abstract, fd:N, "
        "systemd:NAME (the sockets of that name from socket activation); uwsgi:ADDRESS speaks uwsgi there. An entry "
        "may be a table with options.",
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
        "What runs requests: compiled, in C, which needs a build for the application's interpreter "
        "(`miniwsgi engine build`); plain, in Python, which runs everywhere. auto: the fastest that it can run; the "
        "log and `miniwsgictl status` say which that is, and why.",
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
        SystemAccount("user"),
        "",
        "The user to become once the listeners are open. A reload reads the configuration as this user.",
        flag="--user",
    )
    group: str = key(SystemAccount("group"), "", "The group to become; default: that of `user`.", flag="--group")
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
    script_name_stripped: bool = key(
        Boolean(),
        False,
        "The proxy has taken script_name off the path already. false: it is taken off here, of paths that have it.",
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
    socket_owner: str = key(SystemAccount("user"), "", "Owner of Unix sockets in `bind`. Default: unchanged.")
    socket_group: str = key(SystemAccount("group"), "", "Group of Unix sockets in `bind`. Default: unchanged.")
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
class LimitsSection:
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
    sockets: int = key(
        Integer(1, 10_000, off=True),
        100,
        "Open WebSockets a worker, each with a thread of its own (503 with Retry-After). For pool epoll with 2 threads "
        "or more; elsewhere, and off: none (501).",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsSection:
    """How long things may take."""

    handshake: float = key(Duration(0.1, DAY), 10.0, "For a TLS handshake; beyond it the connection is closed.")
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
    hook: float = key(
        Duration(0.1, DAY),
        30.0,
        "For each function of `app.hooks`; what takes longer before a worker is ready fails its boot (hooks.md).",
    )
    wedge: float = key(
        Duration(1, DAY, off=True), 30.0, "A worker whose loop has not turned for this long is replaced."
    )
    drain_idle: float = key(Duration(0, 3600), 2.0, "How long a draining worker still answers on idle connections.")
    sockets: float = key(
        Duration(0, DAY),
        10.0,
        "How long WebSockets may go on in a worker that drains, within timeouts.graceful; then they are shut down.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecycleSection:
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
