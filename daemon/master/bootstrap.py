"""How a launcher is executed: by which interpreter, with which code, environment and descriptors.

miniwsgi need not be installed for the application's interpreter: a synthetic package points at our own
folders. They cannot simply be put on sys.path, where daemon/http would hide the standard library's http.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping

import miniwsgi.daemon
import miniwsgi.metrics

# Run with `-P -c`: arguments are the folders of daemon and metrics, the channel's descriptor, and a note.
BOOTSTRAP = """\
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location

def package(name, path):
    if path:
        spec = spec_from_file_location(name, path + "/__init__.py", submodule_search_locations=[path])
    else:
        spec = ModuleSpec(name, None, is_package=True)
    module = sys.modules[name] = module_from_spec(spec)
    if path:
        spec.loader.exec_module(module)
    return module

daemon, metrics, channel, note = sys.argv[1:]
root = package("miniwsgi", "")
root.daemon = package("miniwsgi.daemon", daemon)
root.metrics = package("miniwsgi.metrics", metrics)
from miniwsgi.daemon.worker.launcher import main
main(int(channel), note)
"""

# Until the launcher has its own handlers, what a terminal sends to the whole group must not end it.
BLOCKED = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
}


def execute(
    python: str, application: str, channel_fd: int, fds: Iterable[int], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a launcher that inherits `fds` and its channel. Raises OSError if `python` cannot be executed."""
    # A first line for people: ps shows the arguments of launcher and workers.
    title = f"# miniwsgi: launcher and workers of {application if application.isprintable() else '?'}\n"
    folders = [os.path.abspath(package.__path__[0]) for package in (miniwsgi.daemon, miniwsgi.metrics)]
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        return subprocess.Popen(  # noqa: S603 - no shell: the operator's interpreter, our code
            [python, "-P", "-c", title + BOOTSTRAP, *folders, str(channel_fd), ""],
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            pass_fds=[channel_fd, *fds],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
