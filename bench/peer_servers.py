"""The peers: each in the best configuration that its documentation gives for the workload, and in its default.

Where a server has a limit that would close or refuse the benchmark's connections (idle ones, many at once), it is
raised. `bench/apps/serve.py` starts those that have no command of their own, or one that cannot raise their limits.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.servers import APPS, ENGINES, FLOORS, ROAD, Command, Kind, Order, Programs, Server, whitenoise

MANY = 20_000  # connections
IDLE_SECONDS = 75
BACKLOG = 1024


def _gunicorn(worker_class: str, threads: int | None = None, *flags: str) -> Command:
    def command(programs: Programs, order: Order) -> list[str]:
        chosen = order.threads or threads or 1
        processes, connections = order.workers, MANY
        if worker_class == "sync":  # there, a process is what a thread is elsewhere
            processes = max(order.workers, order.threads or 1)
        if worker_class == "gevent" and order.threads:
            connections = max(order.threads, 64)
        argv = [programs.peers, "-m", "gunicorn", order.application, "--chdir", str(APPS)]
        argv += ["--bind", f"127.0.0.1:{order.port}", "--workers", str(processes), "--worker-class", worker_class]
        argv += ["--no-control-socket", "--log-level", "warning", "--keep-alive", str(IDLE_SECONDS)]
        argv += ["--worker-connections", str(connections), *flags]
        if worker_class == "gthread":
            argv += ["--threads", str(chosen)]
        if order.access_log is not None:
            argv += ["--access-logfile", str(order.access_log)]
        return argv

    return command


def _gunicorn_default(programs: Programs, order: Order) -> list[str]:
    return [
        *(programs.peers, "-m", "gunicorn", order.application, "--chdir", str(APPS)),
        *("--bind", f"127.0.0.1:{order.port}", "--no-control-socket"),
    ]


def uwsgi(programs: Programs, order: Order, *listen: str) -> list[str]:
    """uWSGI's command with what all of its rows have; `listen`: its socket."""
    return [
        *(programs.script("uwsgi"), *listen, "--master", "--die-on-term", "--need-app", "--disable-logging"),
        *("--home", str(Path(programs.peers).parents[1]), "--chdir", str(APPS), "--module", order.application),
        *("--processes", str(order.workers), "--listen", str(min(BACKLOG, _longest_backlog()))),
    ]


def _uwsgi(programs: Programs, order: Order) -> list[str]:
    static = [] if order.static is None else ["--static-map", f"/static={order.static}"]
    threads = ["--enable-threads", "--threads", str(order.threads or 64)]
    return uwsgi(programs, order, "--http11-socket", f"127.0.0.1:{order.port}") + threads + static


def _uwsgi_default(programs: Programs, order: Order) -> list[str]:
    home = str(Path(programs.peers).parents[1])
    return [
        *(programs.script("uwsgi"), "--http", f"127.0.0.1:{order.port}", "--die-on-term", "--disable-logging"),
        *("--home", home, "--chdir", str(APPS), "--module", order.application, "--master"),
    ]


def _granian(programs: Programs, order: Order) -> list[str]:
    static = (
        [] if order.static is None else ["--static-path-route", "/static", "--static-path-mount", str(order.static)]
    )
    return [
        *(programs.script("granian"), order.application, "--interface", "wsgi", "--working-dir", str(APPS)),
        *("--host", "127.0.0.1", "--port", str(order.port), "--workers", str(order.workers)),
        *("--http", "1", "--no-ws", "--blocking-threads", str(order.threads or 1), "--log-level", "warning"),
        *("--backlog", str(BACKLOG), "--backpressure", str(MANY)),  # of connections, not of requests
        *static,
    ]


def _granian_default(programs: Programs, order: Order) -> list[str]:
    return [
        *(programs.script("granian"), order.application, "--interface", "wsgi", "--working-dir", str(APPS)),
        *("--host", "127.0.0.1", "--port", str(order.port)),
    ]


def _waitress(programs: Programs, order: Order) -> list[str]:
    return [
        *(programs.script("waitress-serve"), f"--listen=127.0.0.1:{order.port}", f"--threads={order.threads or 4}"),
        *(f"--connection-limit={MANY}", f"--channel-timeout={IDLE_SECONDS}", f"--backlog={BACKLOG}"),
        *("--asyncore-use-poll", order.application),
    ]


def _waitress_default(programs: Programs, order: Order) -> list[str]:
    return [programs.script("waitress-serve"), f"--listen=127.0.0.1:{order.port}", order.application]


def _mod_wsgi(programs: Programs, order: Order) -> list[str]:
    argv = [*_unprivileged(), programs.script("mod_wsgi-express"), "start-server"]
    argv += [order.application.partition(":")[0]]
    argv += ["--application-type", "module", "--callable-object", order.application.partition(":")[2]]
    argv += ["--host", "127.0.0.1", "--port", str(order.port), "--processes", str(order.workers)]
    argv += ["--threads", str(order.threads or 5), "--working-directory", str(APPS), "--log-to-terminal"]
    argv += ["--server-root", str(order.scratch), "--max-clients", "512", "--keep-alive-timeout", str(IDLE_SECONDS)]
    argv += ["--enable-sendfile"]
    if file := os.environ.get("BENCH_FILE"):
        argv += ["--setenv", "BENCH_FILE", file]
    return argv


def _unprivileged() -> list[str]:
    """Apache refuses to be root; as nobody, it must be let read an interpreter that lies in root's home."""
    if os.geteuid() != 0:
        return []
    capability = "+dac_read_search"
    user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    return ["setpriv", *user, f"--inh-caps={capability}", f"--ambient-caps={capability}"]


def _peregrine(programs: Programs, order: Order) -> list[str]:
    argv = [programs.script("peregrine"), "--host", "127.0.0.1", "--port", str(order.port), "--protocol", "wsgi"]
    argv += ["--workers", str(order.workers), "--wsgi-threads", str(order.threads or 1), "--python-path", str(APPS)]
    argv += ["--backlog", str(BACKLOG), "--max-connections", str(MANY), "--keep-alive", str(IDLE_SECONDS * 1000)]
    if order.access_log is not None:  # to its standard error
        argv += ["--access-log-format", order.log_format or "text"]
    return [*argv, order.application]


def _m0serve(programs: Programs, order: Order) -> list[str]:
    argv = [programs.script("m0serve"), order.application, "--host", "127.0.0.1", "--port", str(order.port)]
    argv += ["--protocol", "wsgi", "--app-dir", str(APPS), "--workers", str(order.workers)]
    argv += ["--max-keepalive-requests", "0", "--idle-timeout", str(IDLE_SECONDS)]
    return argv + (["--blocking-threads", str(order.threads)] if order.threads else [])


def _pyvoy(programs: Programs, order: Order) -> list[str]:
    argv = [programs.script("pyvoy"), order.application, "--interface", "wsgi", "--port", str(order.port)]
    return argv + (["--worker-threads", str(order.threads)] if order.threads else [])


def _script(name: str) -> Command:
    def command(programs: Programs, order: Order) -> list[str]:
        argv = [programs.peers, str(APPS / "serve.py"), name, order.application, str(order.port)]
        return [*argv, str(order.workers), str(order.threads or 0)]

    return command


def _nginx_uwsgi(programs: Programs, order: Order) -> list[str]:
    socket = str(order.scratch / "uwsgi.sock")
    behind = uwsgi(programs, order, "--socket", socket, "--enable-threads", "--threads", str(order.threads or 4))
    script = str(APPS / "serve_behind_nginx.py")
    return [programs.peers, script, str(order.port), socket, str(order.scratch), str(order.workers), *behind]


def _nginx(programs: Programs, order: Order) -> list[str]:
    script = str(APPS / "serve_nginx.py")
    return [programs.peers, script, str(order.port), str(order.static), str(order.scratch), str(order.workers)]


def _longest_backlog() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text("ascii"))


def _peer(
    name: str,
    package: str,
    what: str,
    command: Command,
    *,
    needs: tuple[str, ...] = (),
    tools: tuple[str, ...] = (),
    keeps_alive: bool = True,
    most_threads: int | None = None,
    absent: str = "",
) -> Server:
    return Server(name, Kind.PEER, package, what, command, needs, tools, keeps_alive, most_threads, absent)


PEERS = (
    _peer("bjoern", "bjoern", "one thread, libev, C", _script("bjoern"), most_threads=1),
    _peer("fastwsgi", "fastwsgi", "one thread, libuv, C", _script("fastwsgi"), most_threads=1, needs=("setuptools",)),
    _peer("fastpysgi", "fastpysgi", "one thread, libuv, C; fastwsgi's successor", _script("fastpysgi"), most_threads=1),
    _peer("freastal", "freastal", "one thread, libuv, picohttpparser, C", _script("freastal"), most_threads=1),
    _peer("peregrine", "peregrine-server", "Swift; 1 thread unless the workload needs more", _peregrine),
    _peer("granian", "granian", "Rust; HTTP/1, 1 blocking thread unless the workload needs more", _granian),
    _peer("granian-default", "granian", "granian as it comes", _granian_default),
    # 8 threads do best at hello-world (1: 9,700/s, 4: 12,000, 8: 12,200, 16: 12,100), and are our default
    _peer(
        "gunicorn-gthread",
        "gunicorn",
        "8 threads unless the workload needs more, its C parser",
        _gunicorn("gthread", 8, "--http-parser", "fast"),
        needs=("gunicorn_h1c",),
    ),
    _peer(
        "gunicorn-gthread-python",
        "gunicorn",
        "as gunicorn-gthread, its parser in Python",
        _gunicorn("gthread", 8, "--http-parser", "python"),
    ),
    _peer(
        "gunicorn-sync",
        "gunicorn",
        "sync workers: no keep-alive; its C parser",
        _gunicorn("sync", None, "--http-parser", "fast"),
        needs=("gunicorn_h1c",),
        keeps_alive=False,
    ),
    _peer("gunicorn-default", "gunicorn", "gunicorn as it comes: 1 sync", _gunicorn_default, keeps_alive=False),
    _peer(
        "gunicorn-gevent",
        "gunicorn",
        "gevent workers, its C parser",
        _gunicorn("gevent", None, "--http-parser", "fast"),
        needs=("gunicorn_h1c", "gevent", "packaging"),
    ),
    _peer(
        "uwsgi",
        "uWSGI",
        "--http11-socket; a kept-alive connection holds its thread, so it has 64 unless the workload says",
        _uwsgi,
    ),
    _peer("uwsgi-default", "uWSGI", "--http: its router before 1 process", _uwsgi_default, keeps_alive=False),
    _peer("waitress", "waitress", "4 threads (its default) unless the workload needs more", _waitress),
    _peer("waitress-default", "waitress", "waitress as it comes", _waitress_default),
    _peer("cheroot", "cheroot", "10 threads (its default) unless the workload needs more", _script("cheroot")),
    _peer("cheroot-default", "cheroot", "cheroot as it comes: keeps 10 idle connections", _script("cheroot-default")),
    _peer("gevent", "gevent", "gevent.pywsgi, patched, no log", _script("gevent")),
    _peer("socketify", "socketify", "uWebSockets from Python, one thread", _script("socketify"), most_threads=1),
    _peer(
        "mod_wsgi",
        "mod_wsgi-standalone",
        "mod_wsgi-express: Apache before daemon processes of 5 threads unless the workload needs more",
        _mod_wsgi,
        tools=("setpriv",),
    ),
    # 1.6.1 never answers the second request on a connection that it keeps (max_reuse_count); it keeps none by default
    _peer(
        "pyruvate",
        "pyruvate",
        "Rust; 4 threads unless the workload needs more, no keep-alive, its default",
        _script("pyruvate"),
        keeps_alive=False,
    ),
    _peer("m0serve", "m0serve", "Mojo; as many threads as it chooses unless the workload says", _m0serve),
    _peer("pyvoy", "pyvoy", "Envoy with Python inside; 200 threads (its default) unless the workload says", _pyvoy),
    _peer("weft", "", "said to be fast", _script("weft"), absent="what PyPI has by this name is no WSGI server"),
    _peer("nginx-uwsgi", "uWSGI", "nginx before uWSGI on a Unix socket, 4 threads", _nginx_uwsgi, tools=("nginx",)),
)

# Who takes part where files are asked for alone.
FILES = (
    _peer("nginx", "", "nginx alone, sendfile, no cache of open files, as it comes", _nginx, tools=("nginx",)),
    _peer("whitenoise", "whitenoise", "WhiteNoise in the application, on miniwsgi", whitenoise),
)

SERVERS: dict[str, Server] = {server.name: server for server in (*FLOORS, *ROAD, *ENGINES, *PEERS, *FILES)}
