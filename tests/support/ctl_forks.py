"""`miniwsgictl` run again and again by one process that has imported it: a run is a fork, a twentieth of a start.

Each run is a process of its own with its own arguments, environment, directory and standard streams, and ends as the
command does. What a start itself is like, other tests see (`Tool.start`, `Tool.on_terminal`). The process is started
when it is first wanted and ends with the tests' own.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

ORDER_BYTES = 1 << 20  # more than an environment of tests has
AT_THE_START = ("LANG", "LC_", "PYTHON")  # variables that an interpreter reads once

_forking: list[socket.socket] = []  # the way to the process, once there is one
_started_with: dict[str, str] = {}


def can_run(environ: dict[str, str]) -> bool:
    """Whether an interpreter that starts with this environment would be like the one that has started."""
    if not _forking:
        _started_with.update(_read_once(environ))
    return _started_with == _read_once(environ)


def _read_once(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(AT_THE_START)}


def run(arguments: Sequence[str], environ: dict[str, str], stdin: str, seconds: float) -> tuple[int, str, str]:
    """Run `miniwsgictl` to its end: exit status, standard output and error. Raises TimeoutError."""
    if not _forking:
        _forking.append(_start())
    streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    told, tells = os.pipe()
    try:
        os.pwrite(streams[0], stdin.encode(), 0)
        order = {"arguments": arguments, "environ": environ, "directory": os.getcwd()}
        try:
            socket.send_fds(_forking[0], [json.dumps(order).encode()], [*streams, tells])
        finally:
            os.close(tells)
        with open(told, "rb", closefd=False) as lines:
            pid = int(lines.readline())
            if not select.select([told], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"miniwsgictl {arguments} has not ended within {seconds} s")
            status = lines.readline()
        out, error = (_text(fd) for fd in streams[1:])
        assert status, f"miniwsgictl {arguments} was killed: {error}"
        return int(status), out, error
    finally:
        for fd in (*streams, told):
            os.close(fd)


def _text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode().replace("\r\n", "\n")


def _start() -> socket.socket:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(its.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )
    return ours


# --- that process ----------------------------------------------------------------------------------------------------


def obey(orders: socket.socket) -> None:
    """Fork for each order, until there is nobody who gives any."""
    import msgspec.json  # noqa: F401 - as the rest, imported when a command needs it
    from miniwsgi.manager.client import cli, commands, views

    for package in (commands, views):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name != "show_top":
                importlib.import_module(f"{package.__name__}.{module.name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: each tells its status itself
    while True:
        data, fds, _, _ = socket.recv_fds(orders, ORDER_BYTES, 4)
        if not data:
            return
        if not os.fork():
            orders.close()
            become(cli, json.loads(data), fds)
        for fd in fds:
            os.close(fd)


def become(cli: Any, order: dict[str, Any], fds: list[int]) -> NoReturn:
    """One run of the command, from its first line to its exit status."""
    tells, status = fds[3], 1
    os.write(tells, b"%d\n" % os.getpid())
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(order["environ"])
        os.chdir(order["directory"])
        sys.argv[1:] = order["arguments"]
        cli.main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(tells, b"%d\n" % status)
        os._exit(0)


if __name__ == "__main__":
    obey(socket.socket(fileno=int(sys.argv[1])))
