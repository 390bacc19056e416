"""What a daemon's processes do without for as long as they live: the memory of two small workers is the master's.

The modules are looked at when the master ends, after requests, scrapes, a reload and orders: what comes late counts,
too. Figures depend on the machine; docs/operations.md has some.
"""

from __future__ import annotations

import http.client
import json

import pytest

from tests.support.daemon import Daemon
from tests.support.ports import free_port

# Beside each: who would bring it, and about how many KiB of a process's own it takes.
SPARED_BY_THE_MASTER = {
    "click": "the command line, 1,200",
    "miniwsgi.daemon.cli.commands": "the command line, 300",
    "rich": "miniwsgictl, 1,000 and more",
    "prometheus_client": "the merge of the application's metrics, in a process of its own, 2,000",
    "psutil": "nothing of ours: metrics.processes reads /proc, 700",
    "_ssl": "asyncio, with OpenSSL 1,100",
    "_hashlib": "hashlib, with OpenSSL 700",
    "html.entities": "html.escape, 320",
    "importlib.resources": "the status page, 160",
    "zipfile": "importlib.resources, 250",
    "pathlib": "importlib.resources, 180",
    "difflib": "proposals for names that nothing knows, 180",
    "tempfile": "daemon.temporary does without, with shutil 420",
    "shutil": "private directories, with compressors 250",
    "argparse": "nothing of ours, 250",
    "email": "http.client, 300",
    "urllib.request": "nothing of ours, 400",
    "xml": "nothing of ours",
    "miniwsgi.daemon.worker": "design: the master executes it",
    "miniwsgi.daemon.engine.call": "design: it is the worker's",
}
SPARED_BY_WORKERS = {
    "asyncio": "the master's loop, 1,500",
    "logging": "asyncio, 250",
    "ssl": "nothing of ours, with OpenSSL 1,100",
    "hashlib": "nothing of ours, with OpenSSL 700",
    "ctypes": "the master's prctl, 180",
    "subprocess": "the master's helpers, 280",
    "pathlib": "nothing of ours, 180",
    "tempfile": "bodies that do not fit, with shutil 420",
    "datetime": "nothing of ours, 200",
    "click": "the command line",
    "msgspec": "the control API",
    "miniwsgi.daemon.master": "design: no part of the master lives behind the fork",
    "miniwsgi.daemon.config": "the master's",
    "miniwsgi.manager": "the master's",
}
# Imported by every process that starts: it writes at its end what is there. Launchers and workers do not come so far.
AT_EXIT = """
import atexit, gc, json, os, sys

def tell():
    options = sum(type(one).__module__.startswith("click.core") for one in gc.get_objects())
    with open(os.environ["MODULES_FILE"], "w") as file:
        json.dump({"modules": sorted(sys.modules), "options": options}, file)

atexit.register(tell)
"""
APPLICATION = """
import sys

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sys.modules).encode()]
"""


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str], int]:
    """The modules of a master that has lived, those of its workers, and how many objects of click's it still had."""
    directory = tmp_path_factory.mktemp("spared")
    written, metrics = directory / "modules.json", free_port()
    (directory / "sitecustomize.py").write_text(AT_EXIT)
    (directory / "hello.py").write_text(APPLICATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        patch.setenv("MODULES_FILE", str(written))
        flags = ("--metrics-bind", f"127.0.0.1:{metrics}", "--control", str(directory / "control.sock"))
        with Daemon(directory, "hello:application", "-w", "1", "--access-log", "access.log", *flags) as daemon:
            workers = set(get(daemon.port, "/").decode().splitlines())
            for path in ("/metrics", "/", "/status.json", "/readyz", "/nothing"):
                get(metrics, path)
            assert daemon.reload()
            workers |= set(get(daemon.port, "/").decode().splitlines())
            daemon.stop()
    told = json.loads(written.read_text())
    return set(told["modules"]), workers, told["options"]


def test_the_master_does_without_what_it_has_no_use_for(found: tuple[set[str], set[str], int]) -> None:
    assert sorted(found[0] & SPARED_BY_THE_MASTER.keys()) == []


def test_launcher_and_workers_do_without_what_they_have_no_use_for(found: tuple[set[str], set[str], int]) -> None:
    assert sorted(found[1] & SPARED_BY_WORKERS.keys()) == []


def test_nothing_of_the_command_line_is_left_in_the_master(found: tuple[set[str], set[str], int]) -> None:
    assert found[2] == 0
