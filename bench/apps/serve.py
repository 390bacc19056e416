"""Servers without a command of their own, or with one that cannot raise their limits.

serve.py SERVER MODULE:ATTRIBUTE PORT WORKERS THREADS; 0 threads: the server's own number.
"""

# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore"

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"
BACKLOG = 1024
MANY = 20_000
IDLE_SECONDS = 75


def application(name: str) -> Any:
    """MODULE:ATTRIBUTE, imported from this directory."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def in_processes(count: int, run: Callable[[], None]) -> None:
    """`run` in so many processes, which end with this one; in this one if it is one."""
    if count == 1:
        run()
        return
    children = []
    for _ in range(count):
        child = os.fork()
        if not child:
            run()
            os._exit(0)
        children.append(child)

    def end(number: int, frame: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    for child in children:
        os.waitpid(child, 0)


def bjoern(name: str, port: int, workers: int, threads: int) -> None:
    import bjoern as server

    server.listen(application(name), HOST, port)
    in_processes(workers, server.run)


def fastwsgi(name: str, port: int, workers: int, threads: int) -> None:
    import fastwsgi as package

    server = package.server
    server.backlog = BACKLOG
    package.run(application(name), HOST, port, loglevel=2, workers=workers)


def fastpysgi(name: str, port: int, workers: int, threads: int) -> None:
    import fastpysgi as package

    package.run(application(name), HOST, port, workers=workers)


def freastal(name: str, port: int, workers: int, threads: int) -> None:
    import freastal as server

    server.serve(application(name), HOST, port, workers)


def pyruvate(name: str, port: int, workers: int, threads: int) -> None:
    import pyruvate as server

    server.serve(application(name), f"{HOST}:{port}", threads or 4)


def cheroot(name: str, port: int, workers: int, threads: int) -> None:
    from cheroot import wsgi

    server = wsgi.Server(
        (HOST, port), application(name), numthreads=threads or 10, request_queue_size=BACKLOG, timeout=IDLE_SECONDS
    )
    server.keep_alive_conn_limit = MANY
    server.safe_start()


def cheroot_default(name: str, port: int, workers: int, threads: int) -> None:
    from cheroot import wsgi

    wsgi.Server((HOST, port), application(name)).safe_start()


def gevent(name: str, port: int, workers: int, threads: int) -> None:
    from gevent import monkey

    monkey.patch_all()
    import gevent
    from gevent import pywsgi

    server = pywsgi.WSGIServer((HOST, port), application(name), log=None, backlog=BACKLOG)
    server.init_socket()

    def run() -> None:
        gevent.reinit()
        server.serve_forever()

    in_processes(workers, run)


def socketify(name: str, port: int, workers: int, threads: int) -> None:
    from socketify import WSGI, AppListenOptions

    WSGI(application(name)).listen(AppListenOptions(port=port, host=HOST)).run(workers=workers)


SERVERS = {
    "bjoern": bjoern,
    "fastwsgi": fastwsgi,
    "fastpysgi": fastpysgi,
    "freastal": freastal,
    "pyruvate": pyruvate,
    "cheroot": cheroot,
    "cheroot-default": cheroot_default,
    "gevent": gevent,
    "socketify": socketify,
}

if __name__ == "__main__":
    chosen, wanted, *numbers = sys.argv[1:]
    SERVERS[chosen](wanted, *map(int, numbers))
