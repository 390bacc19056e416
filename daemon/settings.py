"""What a generation of workers needs to know, as plain data.

The master makes a `Settings` from its validated configuration and sends it to the launcher as the first message;
nothing here is validated again. Standard library only: both sides of the fork import it. Durations are seconds, sizes
are bytes, and 0 means "off" unless a field says otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Tls(NamedTuple):
    """How TLS is spoken on a listener."""

    fd: int  # of the certificates' memory: see tls.material
    client: str = "none"  # or "optional", "required": whether clients are asked for certificates
    minimum: str = "1.2"  # or "1.3": the oldest version that is spoken
    ciphers: str = ""  # those of TLS 1.2, as OpenSSL's list; "": Mozilla's intermediate ones
    hsts: str = ""  # the value of Strict-Transport-Security; "" none


def url_of(scheme: str, name: str, *, unix: bool) -> str:
    """For people: "http://127.0.0.1:8000", "unix:/run/x.sock", "uwsgi:/run/x.sock"."""
    if not unix:
        return f"{scheme}://{name}"
    return f"uwsgi:{name.removeprefix('unix:')}" if scheme == "uwsgi" else name


class Listener(NamedTuple):
    """A listening socket as a worker sees it: an inherited descriptor and what stands behind it."""

    fd: int
    name: str  # as configured: "127.0.0.1:8000", "[::1]:8000", "unix:/run/x.sock", "systemd:http"
    unix: bool
    server_name: str  # SERVER_NAME for requests that bring no Host (HTTP/1.0)
    server_port: str  # SERVER_PORT likewise; "" on a Unix socket
    protocol: str = "http"  # or "uwsgi"
    proxy_protocol: bool = False  # each connection begins with a PROXY header
    tls: Tls | None = None
    redirect: int = 0  # the port of the https:// URL to which each request is redirected; 0: none is

    def to_message(self) -> dict[str, Any]:
        """As `Settings.to_message`."""
        return {**self._asdict(), "tls": self.tls._asdict() if self.tls is not None else None}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Listener:
        """The inverse of `to_message`. Raises TypeError for fields of another version."""
        tls = message["tls"]
        return cls(**{**message, "tls": Tls(**tls) if tls is not None else None})


UNUSUAL_SECONDS = 0.5  # what takes less is slow for no route, and nobody is told of it


class StaticFiles(NamedTuple):
    """An entry of [[static]]: files that the server answers with by itself."""

    path: str  # the prefix of URLs, with a slash at both ends; decoded, as latin-1
    directory: str
    cache: tuple[tuple[str, str], ...] = ()  # a glob of names and a Cache-Control value; the first that fits
    index_name: str = ""  # of the file that is a directory's answer; "" none
    fallthrough: bool = False  # what is absent is the application's
    symlinks: bool = False  # those that stay inside are followed
    precompressed: bool = True  # .br, .zst and .gz beside a file
    internal: bool = False  # only where the application's answer says so
    types: tuple[tuple[str, str], ...] = ()  # an ending and its media type, before the built-in ones
    headers: tuple[tuple[str, str], ...] = ()  # more fields of each answer
    fd: int = -1  # of the directory, if it is open already: all workers of a generation have the same one

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> StaticFiles:
        """The inverse of `_asdict`, in JSON. Raises TypeError for fields of another version."""
        pairs = {name: tuple(map(tuple, message[name])) for name in ("cache", "types", "headers")}
        return cls(**{**message, **pairs})


class Settings(NamedTuple):
    """Everything that crosses from the master to a launcher and its workers."""

    generation: int
    listeners: tuple[Listener, ...]
    scoreboard_fd: int

    # the application
    module: str  # "package.module:attribute", "package.module", or with `factory` a callable that makes it
    directory: str
    python_path_dropped: bool = False  # the daemon's PYTHONPATH has not come to the application
    factory: bool = False
    revision: str = "auto"  # of the application's code: found by itself; "" none
    preload: str = "auto"  # "auto" | "true" | "false"
    leader_fd: int = -1  # of the file whose lock a leader holds; -1: none
    hooks: str = ""  # the module of the application's hooks, "package.module"; "" none
    boot_check: str = ""  # a path that must be answered below 400 before the worker counts as ready

    # how it is served
    pool: str = "epoll"
    threads: int = 8
    engine: str = "auto"  # or the name of one: see engine.choice
    script_name: str = ""
    script_name_stripped: bool = False  # the proxies have taken it off the path
    server_header: str = "miniwsgi"
    request_id_header: str = ""  # a response field's name; "" none
    switch_interval: float = 0.0005
    spool_directory: str = ""

    static: tuple[StaticFiles, ...] = ()

    # limits
    request_line_bytes: int = 8190
    field_bytes: int = 16384
    fields: int = 100
    fields_bytes: int = 65536
    body_max_bytes: int = 100 * 1024 * 1024
    body_memory_bytes: int = 256 * 1024
    connections: int = 10_000
    in_flight: int = 0
    sockets: int = 100

    # timeouts
    handshake_timeout: float = 10.0
    head_timeout: float = 10.0
    body_timeout: float = 10.0  # grace before the minimum rate counts
    send_timeout: float = 10.0
    minimum_rate: int = 500  # bytes a second
    keep_alive_timeout: float = 75.0
    request_timeout: float = 0.0
    graceful_timeout: float = 30.0
    hook_timeout: float = 30.0
    drain_idle: float = 2.0
    sockets_timeout: float = 10.0

    # recycling: asked for by the worker, ordered by the master (replacement first)
    max_requests: int = 0
    max_requests_jitter: int = 0
    max_lifetime: float = 0.0
    max_rss_bytes: int = 0

    # trust
    trusted: tuple[str, ...] = ()  # addresses or networks; "unix" for every Unix-socket peer
    forwarded: bool = False  # the trusted set Forwarded instead of the fields of client and scheme
    hops: int = 0  # proxies that a request comes through; 0: as many as `trusted` names
    client_field: str = "X-Forwarded-For"  # where they say it; "": nowhere
    scheme_field: str = "X-Forwarded-Proto"
    host_field: str = ""
    port_field: str = ""
    prefix_field: str = ""
    prefix_stripped: bool = True  # they have taken it off the path

    # logs
    log_level: str = "info"
    log_format: str = "text"
    log_file: str = "-"  # "-" standard error, or a path
    application_level: str = "info"  # of what the application writes to standard streams and wsgi.errors
    journal: bool = False  # stderr is the journal: lines carry <N> priorities
    access_log: str = ""  # "" off, "-" standard output, or a path
    access_log_format: str = "combined"  # "combined" | "json" | a format string with %(name)s atoms
    access_skip: tuple[str, ...] = ()  # rules of requests without a line: see log.access_skip
    access_lines: str = "all"  # or "problems": of those alone …
    access_slow: float = 1.0  # … and of what takes longer; 0: of nothing else
    slow_request: float = 5.0  # the master is told of requests that took longer; 0: of none

    # metrics
    routes: tuple[str, ...] = ()  # how they are found: see routes.choice
    app_metrics_directory: str = ""  # where prometheus_client is to keep its values; "": not our affair

    @property
    def descriptors(self) -> list[int]:
        """Those that the master passes beside the channel."""
        certificates = (listener.tls.fd for listener in self.listeners if listener.tls is not None)
        fds = (self.scoreboard_fd, self.leader_fd, *(listener.fd for listener in self.listeners), *certificates)
        return [fd for fd in fds if fd >= 0]

    def to_message(self) -> dict[str, Any]:
        """As JSON-ready data for the launcher's first message."""
        listeners = [listener.to_message() for listener in self.listeners]
        return {**self._asdict(), "listeners": listeners, "static": [entry._asdict() for entry in self.static]}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Settings:
        """The inverse of `to_message`. Raises TypeError for fields of another version."""
        listeners = tuple(map(Listener.from_message, message["listeners"]))
        lists = {name: tuple(message[name]) for name in ("trusted", "access_skip", "routes")}
        static = tuple(map(StaticFiles.from_message, message["static"]))
        return cls(**{**message, **lists, "listeners": listeners, "static": static})
