"""gunicorn's settings about the application, its workers and where they listen."""

from __future__ import annotations

from ..conversions import as_it_is, path, seconds, seconds_or_off, switch, whole, whole_or_off
from ..setting import Takes, built_in, left_out, like, nothing, same

APPLICATION = (
    built_in("config", "The file is read once, for the import; ours is named with -c.", "-c", "--config"),
    same("wsgi_app", "app.module", as_it_is, "With parentheses, as in shop:create_app('x'), it is app.factory."),
    same("chdir", "app.directory", path, "", "--chdir"),
    like(
        "pythonpath",
        "app.env",
        None,
        "PYTHONPATH in app.env: directories with colons. app.directory is importable anyway.",
        "--pythonpath",
    ),
    like("raw_env", "app.env", None, "Variables for the application.", "-e", "--env", takes=Takes.MANY),
    like(
        "preload_app",
        "app.preload",
        None,
        'By default ("auto") the application is imported once, before workers are forked, unless the import leaves '
        'threads or connections behind; "false" is what gunicorn does by default. Reloads work all the same.',
        "--preload",
        takes=Takes.ON,
    ),
    left_out(
        "paste",
        "PasteDeploy: a wsgi.py with application = paste.deploy.loadapp('config:/path/production.ini'), named by "
        "app.module.",
        "--paste",
        "--paster",
    ),
    left_out(
        "raw_paste_global_conf",
        "Pass global_conf={…} to paste.deploy.loadapp in your wsgi.py.",
        "--paste-global",
        takes=Takes.MANY,
    ),
)

WORKERS = (
    same(
        "workers",
        "server.workers",
        whole,
        "Without it: the CPUs this process may use. Workers have threads (server.threads), so that 2 × CPUs + 1 are "
        "rarely needed.",
        "-w",
        "--workers",
    ),
    like(
        "worker_class",
        "server.threads",
        None,
        'There is one pool for all, "epoll": sync becomes server.threads = 1, gthread as many threads as it had; '
        "gevent, eventlet and tornado become threads, without monkey-patching. ASGI workers have no counterpart: "
        "miniwsgi serves WSGI.",
        "-k",
        "--worker-class",
    ),
    same("threads", "server.threads", whole, "", "--threads"),
    like(
        "worker_connections",
        "limits.connections",
        whole,
        "Open connections a worker; they are cheap here and need no thread, so that the default (10000) fits nearly "
        "all.",
        "--worker-connections",
    ),
    same("max_requests", "recycle.max_requests", whole_or_off, "", "--max-requests"),
    same(
        "max_requests_jitter",
        "recycle.max_requests_jitter",
        whole,
        "Without it a tenth of recycle.max_requests, not 0.",
        "--max-requests-jitter",
    ),
    like(
        "timeout",
        "timeouts.request",
        seconds_or_off,
        "A request that takes longer is answered with 504, and its worker replaced. In gunicorn this was a time "
        "limit for requests only in sync workers; with threads it was a heartbeat, which here is timeouts.wedge (30 "
        "s).",
        "-t",
        "--timeout",
    ),
    same("graceful_timeout", "timeouts.graceful", seconds, "", "--graceful-timeout"),
    same(
        "keepalive",
        "timeouts.keep_alive",
        seconds_or_off,
        "Idle connections hold no thread: 75 s, the default, are longer than a proxy's 60, as they should be.",
        "--keep-alive",
    ),
    like(
        "http_parser",
        "server.engine",
        None,
        '"fast" is "compiled", "python" is "plain"; "auto" takes the compiled one where there is a build.',
        "--http-parser",
    ),
    nothing("asgi_loop", "ASGI: miniwsgi serves WSGI. Keep uvicorn, hypercorn or gunicorn for it.", "--asgi-loop"),
    nothing("asgi_lifespan", "ASGI. What lifespan starts and stops, hooks do for WSGI.", "--asgi-lifespan"),
    nothing("asgi_disconnect_grace_period", "ASGI.", "--asgi-disconnect-grace-period"),
    nothing(
        "websocket_max_message_size",
        "WebSockets of ASGI applications. In WSGI the library has such a limit.",
        "--websocket-max-message-size",
    ),
    nothing(
        "root_path",
        "ASGI's name of SCRIPT_NAME. For WSGI: server.script_name.",
        "--root-path",
    ),
)

SOCKETS = (
    like(
        "bind",
        "server.bind",
        None,
        "Addresses as in gunicorn; unix:/path, fd:N for fd://N, and systemd:NAME for socket activation.",
        "-b",
        "--bind",
        takes=Takes.MANY,
    ),
    same("backlog", "server.backlog", whole, "", "--backlog"),
    left_out(
        "reuse_port",
        "Listening sockets are opened once, by the master, and stay open through reloads; workers are balanced by how "
        "many connections they have.",
        "--reuse-port",
        takes=Takes.ON,
    ),
    built_in("sendfile", "Files go by sendfile(2).", "--no-sendfile", takes=Takes.OFF),
)

DEBUGGING = (
    same(
        "reload", "server.reload_on_change", switch, "For development; needs miniwsgi[dev].", "--reload", takes=Takes.ON
    ),
    built_in("reload_engine", "Changes are told by the kernel (inotify, through watchfiles).", "--reload-engine"),
    left_out(
        "reload_extra_files",
        "Only the application's sources are watched. For templates, turn their own reloading on; for the rest, "
        "miniwsgictl reload.",
        "--reload-extra-file",
        takes=Takes.MANY,
    ),
    left_out(
        "spew",
        'A trace of every line: pool "single" and pdb, or miniwsgictl stack, which shows what threads do.',
        "--spew",
        takes=Takes.ON,
    ),
    like("check_config", "", None, "The command miniwsgi check.", "--check-config", takes=Takes.ON),
    like("print_config", "", None, "The command miniwsgi config.", "--print-config", takes=Takes.ON),
)
