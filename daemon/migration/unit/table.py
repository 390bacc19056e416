"""NGINX Unit's settings that have to do with a Python application, by their place in its configuration."""

from __future__ import annotations

from ..conversions import account, as_it_is, interpreter_of, path, seconds_or_off, whole, whole_or_off
from ..setting import built_in, left_out, like, nothing, same, table

TLS = (
    "`certificate` of the entry of server.bind (tls.md): a file with the certificates and the key, as the bundle that "
    "was uploaded to Unit. conf_commands are `ciphers` and `tls_minimum`."
)
PROXY = "The proxy in front has locations, redirects and rewrites."
SYSTEMD = "The hardening of our systemd unit (docs/systemd.md), or the container."

APPLICATION = (
    built_in("applications.type", "Python it is; app.python names which one. Other languages stay where they are."),
    like("applications.module", "app.module", None, "With callable, as MODULE:CALLABLE."),
    like("applications.callable", "app.module", None, "MODULE:CALLABLE in app.module; Unit's default is application."),
    like("applications.factory", "app.factory", None, "A true factory makes callable app.factory."),
    like(
        "applications.path",
        "app.env",
        None,
        "The first is app.directory, unless there is a working_directory; others are PYTHONPATH.",
    ),
    same("applications.working_directory", "app.directory", path),
    like("applications.home", "app.python", interpreter_of, "The interpreter of that environment."),
    same("applications.environment", "app.env", as_it_is),
    same("applications.prefix", "server.script_name", as_it_is),
    like("applications.targets", "app.module", None, "A daemon for each target, or a dispatcher in the application."),
    nothing("applications.protocol", "ASGI: miniwsgi serves WSGI."),
)
PROCESSES = (
    same("applications.processes", "server.workers", whole, "Unit's default is 1."),
    like("applications.processes.max", "server.workers", whole, "The number is fixed; miniwsgictl scale changes it."),
    left_out("applications.processes.spare", "The number of workers is fixed; miniwsgictl scale changes it."),
    left_out("applications.processes.idle_timeout", "The number of workers is fixed."),
    same("applications.threads", "server.threads", whole, "Unit's default is 1."),
    left_out("applications.thread_stack_size", "threading.stack_size in the application."),
    same("applications.limits.timeout", "timeouts.request", seconds_or_off),
    same("applications.limits.requests", "recycle.max_requests", whole_or_off),
    left_out("applications.limits.shm", "No shared memory is used for bodies: limits.body_memory, then a file."),
    same("applications.user", "server.user", account),
    same("applications.group", "server.group", account),
    left_out("applications.isolation", SYSTEMD),
    same("applications.stdout", "log.file", path, "What the application prints is in the error log."),
    same("applications.stderr", "log.file", path),
)
LISTENERS = (
    like("listeners", "server.bind", None, "Addresses; *:8000 is :8000."),
    like("listeners.pass", "", None, "A daemon serves one application: --select names it."),
    same("listeners.backlog", "server.backlog", whole),
    like("listeners.tls", "server.bind", None, TLS),
    like("listeners.forwarded", "proxy.trusted", None, "source becomes proxy.trusted."),
    like("listeners.forwarded.source", "proxy.trusted", None, "Whose X-Forwarded-… count."),
    same("listeners.forwarded.client_ip", "proxy.client_field", as_it_is),
    same("listeners.forwarded.protocol", "proxy.scheme_field", as_it_is),
    like(
        "listeners.forwarded.recursive",
        "proxy.hops",
        None,
        "Without it the last address counts, as with proxy.hops = 1.",
    ),
    like("listeners.client_ip", "proxy.trusted", None, "The older name of forwarded."),
)
ROUTES = (
    like("routes", "", None, "Those that lead to the application; for the others the proxy in front."),
    left_out("routes.match", PROXY),
    left_out("routes.action.return", PROXY),
    left_out("routes.action.rewrite", PROXY),
    left_out("routes.action.response_headers", PROXY),
    left_out("routes.action.proxy", PROXY),
    like("routes.action.share", "static", None, "A table of [[static]] for each prefix: path and directory."),
    like("routes.action.fallback", "static", None, "fallthrough = true in its table: then the application answers."),
    left_out("upstreams", PROXY),
)
SETTINGS_HTTP = (
    same("settings.http.header_read_timeout", "timeouts.head", seconds_or_off, "Unit's default is 30 s."),
    like(
        "settings.http.body_read_timeout",
        "timeouts.body",
        seconds_or_off,
        "How long a body may take before timeouts.minimum_rate counts; Unit's is between two reads.",
    ),
    like(
        "settings.http.send_timeout",
        "timeouts.send",
        seconds_or_off,
        "How long sending may take before timeouts.minimum_rate counts; Unit's is between two writes.",
    ),
    same("settings.http.idle_timeout", "timeouts.keep_alive", seconds_or_off, "Unit's default is 180 s."),
    same("settings.http.max_body_size", "limits.body_max", whole_or_off, "Unit's default is 8 MiB."),
    like("settings.http.server_version", "server.server_header", None, 'false: server.server_header = "off".'),
    built_in("settings.http.discard_unsafe_fields", "Names with an underscore, and such, are never mapped."),
    left_out("settings.http.log_route", PROXY),
    left_out("settings.http.chunked_transform", "Chunked bodies are received before the application is called."),
    like("settings.http.static", "static", None, "types in its table: media types by the ending of names."),
    left_out("settings.js_module", PROXY),
    left_out("settings.telemetry", "OpenTelemetry in the application; metrics are on metrics.bind."),
)
LOGS = (
    like("access_log", "log.access_log", None, "Its path."),
    same("access_log.path", "log.access_log", path),
    like(
        "access_log.format",
        "log.access_log_format",
        None,
        "combined, common, json, or a format with atoms as gunicorn's.",
    ),
    like("access_log.if", "log.access_skip", None, 'Rules such as "GET /healthz" in log.access_skip.'),
)
SETTINGS = table(
    ("Applications", APPLICATION),
    ("Processes", PROCESSES),
    ("Listeners", LISTENERS),
    ("Routes", ROUTES),
    ("HTTP", SETTINGS_HTTP),
    ("Access log", LOGS),
)
