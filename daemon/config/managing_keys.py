"""The keys that say how the daemon is watched and managed: logs, the control API, metrics and health."""

from __future__ import annotations

from dataclasses import dataclass

from ..log.access_format import compile_format
from ..log.access_skip import Lines, parse_rule
from ..routes.patterns import AUTO
from . import machine
from .addresses import Grantee, Network, SystemAccount
from .declaration import key
from .endpoints import Endpoint, EndpointEntry
from .kinds import Boolean, Choice, Many, MismatchError, Mode, Path, Text, is_off
from .numbers import Duration, Integer
from .route_rules import RouteRules
from .serving_keys import DAY, MAX_WORKERS

_RULE = 'a rule such as "GET /healthz", "/static/* 304" or "agent:kube-probe"'


def _skip_rule(text: str) -> str:
    if is_off(text):
        raise MismatchError(f"{_RULE}; for none an empty list")
    try:
        parse_rule(text)
    except ValueError as error:
        raise MismatchError(f"{_RULE}; {error}") from None
    return text


def _log_format(text: str) -> str:
    if text.strip().lower() == "off":
        raise MismatchError('a format; log.access_log = "off" turns the access log off')
    try:
        compile_format(text)
    except ValueError as error:
        raise MismatchError(f"a format that can be used: {error}") from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
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
    access_lines: str = key(
        Choice(*(lines.value for lines in Lines)),
        "all",
        "Of which requests the access log has lines. problems: of those with a status from 400 on, and of slow ones.",
    )
    access_slow: float = key(
        Duration(0.001, DAY, off=True), 1.0, "What takes longer is slow (access_lines = problems). off: nothing is."
    )
    access_skip: tuple[str, ...] = key(
        Many(Text(_RULE, check=_skip_rule, name="rule")),
        (),
        "Requests without a line in the access log, such as those of health checks; they are counted all the same. A "
        "rule is [METHOD] [PATH] [STATUS …] [agent:BEGINNING]. PATH is without the query, and a * in it is any text; "
        "STATUS is 304, 2xx or any, and without one it is 1xx to 3xx: errors are not hidden (operations.md).",
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
        "A request that has run for so long is told once, in the error log and among the events, is looked at while it "
        "runs, and is kept for `miniwsgictl slow`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSection:
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
    group: str = key(SystemAccount("group"), "", "Group of the socket. Default: unchanged.")
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
class MetricsSection:
    """Prometheus metrics and health endpoints, apart from the application."""

    bind: Endpoint = key(  # noqa: RUF009 - a field
        EndpointEntry(Endpoint, off=True),
        Endpoint(address="127.0.0.1:9464"),
        "Where they are served: an address as in server.bind, apart from it, or a table with its options of TLS "
        "(tls.md). Unix sockets get server.socket_mode, socket_owner and socket_group. If the default is in use, that "
        "is a line in the log.",
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
    routes: tuple[str, ...] = key(
        RouteRules(),
        (AUTO,),
        "How the route of a request is found, for its figures by route. auto: what Flask, Django, Bottle, Pyramid, "
        "Falcon and CherryPy say. Patterns: the first that fits the path; in one, * is a segment, {} a segment whose "
        'text is part of the name, ** at the end the rest. A list may have "auto" and patterns for what has no route. '
        'off: only what the application says (environ["miniwsgi.route"]) (insight.md).',
    )
    fine_buckets: bool = key(
        Boolean(), False, "Duration histograms also have buckets of 0.5, 1 and 2.5 ms: for applications that fast."
    )
