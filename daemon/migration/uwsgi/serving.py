"""uWSGI's options about the application, its workers, and where they listen."""

from __future__ import annotations

from ..conversions import as_it_is, interpreter_of, path
from ..setting import built_in, left_out, like, same
from . import values

APPLICATION = (
    same("module", "app.module", as_it_is, "Without a callable: `application`, then `app`.", "wsgi -w"),
    like("callable", "app.module", None, "MODULE:CALLABLE in app.module."),
    like(
        "wsgi-file",
        "app.module",
        None,
        "A path works, too: ./shop.py, or ./shop.py:app.",
        "file",
    ),
    like(
        "mount",
        "server.script_name",
        None,
        "A daemon serves one application, under one prefix: server.script_name. For several, a daemon each, or "
        "werkzeug's DispatcherMiddleware.",
    ),
    built_in("manage-script-name", "server.script_name is taken from the path, as is a uwsgi_param SCRIPT_NAME."),
    same("chdir", "app.directory", path),
    like("chdir2", "app.directory", path, "The application is imported in app.directory."),
    like("pythonpath", "app.env", None, "PYTHONPATH in app.env; app.directory is importable anyway.", "python-path pp"),
    like("virtualenv", "app.python", interpreter_of, "The interpreter of that environment.", "home venv pyhome -H"),
    like("env", "app.env", None, "Variables for the application."),
    like(
        "lazy-apps",
        "app.preload",
        None,
        'The application is imported in each worker: app.preload = "false". Without it uWSGI imports once and forks, '
        'as "auto" does where it is safe.',
        "lazy",
    ),
    built_in(
        "need-app", "A start without an application fails, with its traceback; a reload leaves the old code running."
    ),
    built_in("single-interpreter", "There are no subinterpreters.", "-i"),
    built_in("strict", "An unknown key is a mistake, and all mistakes are told at once."),
    left_out("plugin", "One program, no plugins; app.python names the Python.", "plugins plugins-dir plugin-dir"),
    left_out("paste", "A wsgi.py with application = paste.deploy.loadapp('config:…').", "ini-paste ini-paste-logged"),
    left_out("eval", "A module that is named by app.module."),
    like(
        "import",
        "app.hooks",
        None,
        "Import it in the application's module; loaded in app.hooks runs after that.",
        "pyimport",
    ),
    like("shared-import", "app.hooks", None, "As import.", "shared-pyimport"),
    left_out("py-auto-reload-ignore", "Whatever of the application changes reloads."),
    same(
        "py-autoreload",
        "server.reload_on_change",
        values.reload_on_change,
        "For development; needs miniwsgi[dev].",
        "py-auto-reload python-autoreload python-auto-reload",
    ),
    like(
        "touch-reload", "", None, "systemctl reload, or miniwsgictl reload, which fails if the new code does not boot."
    ),
    like("touch-chain-reload", "", None, "Each reload goes worker by worker, its successor first."),
    like("touch-workers-reload", "", None, "As touch-reload."),
    left_out("catch-exceptions", "Tracebacks go to the log, never to clients."),
    left_out("pyargv", "The application reads app.env."),
    built_in("wsgi-env-behaviour", "Each request has an environ of its own.", "wsgi-env-behavior"),
)

WORKERS = (
    same("processes", "server.workers", values.number, "Without it: the CPUs this process may use.", "workers -p"),
    same("threads", "server.threads", values.number, "Threads a worker; 8 without it."),
    built_in("enable-threads", "Threads of the application always run.", "-T"),
    built_in("master", "There is always a master.", "-M"),
    left_out(
        "cheaper", "The number of workers is fixed; miniwsgictl scale changes it, from a timer or an autoscaler, too."
    ),
    left_out("cheaper-initial", "As cheaper."),
    left_out("cheaper-step", "As cheaper."),
    left_out("cheaper-algo", "As cheaper."),
    left_out("cheaper-overload", "As cheaper."),
    left_out("cheaper-rss-limit-soft", "As cheaper; recycle.max_rss replaces a worker that has grown."),
    left_out("cheap", "Workers are there before clients come.", "idle die-on-idle"),
    like(
        "harakiri",
        "timeouts.request",
        values.number_or_off,
        "A request that takes longer is answered with 504, and its worker replaced; its other requests are finished.",
    ),
    built_in("harakiri-verbose", "The stacks of all threads are logged."),
    like(
        "http-timeout",
        "timeouts.body",
        values.number,
        "How long a request's body may take before timeouts.minimum_rate counts. How long the application may take is "
        "timeouts.request.",
    ),
    like(
        "socket-timeout",
        "timeouts.send",
        values.number,
        "How long sending may take before timeouts.minimum_rate counts.",
        "-z",
    ),
    same("max-requests", "recycle.max_requests", values.number_or_off, "", "-R"),
    same("max-requests-delta", "recycle.max_requests_jitter", values.number),
    same("max-worker-lifetime", "recycle.max_lifetime", values.number_or_off),
    left_out("min-worker-lifetime", "A worker that fails at once is restarted with a back-off."),
    like("reload-on-rss", "recycle.max_rss", values.megabytes, "In peace: its successor is ready first."),
    like(
        "evil-reload-on-rss", "recycle.max_rss", values.megabytes, "There is no killing: its successor is ready first."
    ),
    like("reload-on-as", "recycle.max_rss", None, "Address space says little: recycle.max_rss.", "limit-as"),
    same("worker-reload-mercy", "timeouts.graceful", values.number),
    like(
        "reload-mercy", "timeouts.graceful", values.number, "How long running requests may take when a worker drains."
    ),
    left_out(
        "gevent",
        "Threads, without monkey-patching: as many (server.threads) as may wait at the same time.",
        "gevent-monkey-patch gevent-early-monkey-patch asyncio ugreen async greenlet",
    ),
    left_out("cpu-affinity", "systemd: CPUAffinity=."),
    left_out("threads-stacksize", "threading.stack_size in the application."),
    built_in("thunder-lock", "Workers are balanced by their connections."),
    built_in("no-orphans", "No process outlives the master."),
    built_in("py-call-osafterfork", "Python knows of each fork.", "py-call-uwsgi-fork-hooks"),
    built_in("offload-threads", "Slow clients hold no thread."),
)


SOCKETS = (
    like("http", "server.bind", None, "There is no router process: workers take connections themselves."),
    like("http-socket", "server.bind", None, "HTTP from the proxy.", "http11-socket"),
    like("socket", "server.bind", None, '"uwsgi:ADDRESS": nginx stays as it is (docs/uwsgi.md).', "uwsgi-socket -s"),
    like(
        "protocol",
        "server.bind",
        None,
        "http makes of socket what http-socket is. fastcgi, scgi and raw are not spoken: uwsgi_pass in nginx.",
        "socket-protocol",
    ),
    like(
        "enable-proxy-protocol",
        "server.bind",
        None,
        "proxy_protocol = true of an entry of server.bind, and the proxy in proxy.trusted (docs/proxies.md).",
        "http-enable-proxy-protocol",
    ),
    like("https", "server.bind", None, "An entry with `certificate` and `key` (tls.md).", "https-socket https2"),
    built_in("https-export-cert", "SSL_CLIENT_CERT is in the environ if the client has sent one."),
    left_out("ssl-enable3", "SSL 3 is broken; TLS 1.2 and 1.3 are spoken."),
    like("http-to-https", "server.bind", None, 'An entry with `redirect = "https"` (tls.md).'),
    left_out("shared-socket", "server.bind, opened before the user changes."),
    left_out("reuse-port", "Sockets are opened once and stay open through reloads."),
    left_out("http-processes", "There is no router process.", "http-workers http-modifier1"),
    built_in("http-keepalive", "Connections are kept for timeouts.keep_alive.", "so-keepalive"),
    built_in(
        "http-auto-chunked", "Responses without a length are chunked.", "http-chunked-input wsgi-manage-chunked-input"
    ),
    built_in("http-raw-body", "Bodies are received before the application is called."),
    left_out("http-auto-gzip", "The proxy compresses."),
    same("listen", "server.backlog", values.number, "", "-l"),
    same("chmod-socket", "server.socket_mode", values.socket_mode, "", "chmod"),
    like("chown-socket", "server.socket_owner", None, "user:group become server.socket_owner and server.socket_group."),
    built_in("tcp-nodelay", "Always.", "so-send-timeout"),
    built_in("abstract-socket", "unix:@name."),
    like(
        "static-map",
        "static",
        values.static_map,
        "A table of [[static]] has more: fallthrough = true asks the application for what is absent, as uWSGI does.",
        "static-map2",
    ),
    like("check-static", "static", None, 'path = "/" with fallthrough = true.', "static-check"),
    like("static-index", "static", None, "index in its table."),
    like("static-expires", "static", None, "cache in its table, by globs.", "static-expires-uri static-expires-type"),
    like("static-safe", "static", None, "Nothing outside is served; symlinks = true follows links that stay inside."),
    left_out("static-skip-ext", "Whatever lies in the directory is served: nothing else should lie there."),
    built_in("static-gzip-all", "name.gz, name.br and name.zst beside a file.", "static-gzip static-gzip-dir"),
    built_in(
        "http-websockets", "flask-sock, Flask-SocketIO and simple-websocket work as they are (docs/websockets.md)."
    ),
    left_out(
        "route",
        "The proxy's business: locations, redirects, headers.",
        "route-uri route-host route-run route-if response-route final-route route-label route-header route-user-agent "
        "route-remote-addr",
    ),
    left_out("add-header", "The proxy adds fields, or a middleware.", "collect-header"),
    left_out("vhost", "A daemon for each application.", "vhost-host"),
    left_out(
        "subscribe-to",
        "A proxy's or an orchestrator's business.",
        "subscribe2 fastrouter http-subscription-server rawrouter sslrouter",
    ),
    same("buffer-size", "limits.fields_size", values.number, "All header fields together.", "-b"),
    same("post-buffering", "limits.body_memory", values.number, "A larger body waits in a temporary file."),
    built_in("post-buffering-bufsize", "Bodies are always received before the application is called."),
    same("limit-post", "limits.body_max", values.number_or_off),
)
