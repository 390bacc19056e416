"""What a daemon's processes do without for as long as they live: the memory of two small workers is the master's.

The modules are looked at when the master ends, after requests, scrapes, a reload and orders: what comes late counts,
too. Figures depend on the machine; docs/operations.md has some.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import NamedTuple

import pytest

from tests.support.daemon import Daemon
from tests.support.ports import free_port

# Beside each: who would bring it, and about how many KiB of a process's own it takes.
SPARED_BY_THE_MASTER = {
    "click": "the command line, 1,200",
    "miniwsgi.daemon.cli.commands": "the command line, 300",
    "rich": "miniwsgictl, 1,000 and more",
    "prometheus_client": "the merge of the application's metrics, in a process of its own, 2,000",
    "typing_extensions": "msgspec, where it is installed, 700",
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
    "dataclasses": "nothing of ours: a NamedTuple says the same, with inspect, ast and dis 1,000",
    "inspect": "what an application that does not fit takes, once that is to be told, 700",
    "difflib": "proposals for names that nothing knows, 180",
    "random": "nothing of ours, 300",
    "urllib": "uwsgi, 150",
    "calendar": "static files, with locale and datetime 300",
    "ipaddress": "proxies that are trusted, and their addresses, 240",
    "miniwsgi.daemon.engine.proxy": "proxies that are trusted",
    "miniwsgi.daemon.worker.pools.prefork": "pool prefork",
    "miniwsgi.daemon.worker.pools.fork": "pool fork",
    "fnmatch": "static files",
    "miniwsgi.daemon.engine.openings.proxy_header": "an address with proxy_protocol",
    "miniwsgi.daemon.engine.uwsgi": "an address that speaks uwsgi",
    "miniwsgi.daemon.engine.x_sendfile": "static files",
    "miniwsgi.daemon.static": "static files, 700",
    "miniwsgi.daemon.engine.openings.handshake": "TLS",
    "miniwsgi.daemon.tls.contexts": "TLS",
    "click": "the command line",
    "msgspec": "the control API",
    "miniwsgi.daemon.master": "design: no part of the master lives behind the fork",
    "miniwsgi.daemon.config": "the master's",
    "miniwsgi.manager": "the master's",
}
# Imported by every process that starts: it writes what is imported, and at its end what is there. Launchers and workers
# do not come so far.
WITNESS = """
import atexit, gc, json, os, sys

FD = os.open(os.environ["IMPORTS_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

def heard(event, arguments):
    if event == "import":
        os.write(FD, f"{os.getpid()} {arguments[0]}\\n".encode())

def tell():
    options = sum(type(one).__module__.startswith("click.core") for one in gc.get_objects())
    with open(os.environ["MODULES_FILE"], "w") as file:
        json.dump({"modules": sorted(sys.modules), "options": options}, file)

sys.addaudithook(heard)
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


class Found(NamedTuple):
    """Of a daemon that has lived."""

    master: set[str]  # its modules
    workers: set[str]
    late: set[str]  # what its processes have imported after it was ready
    options: int  # objects of click's that the master still had


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    directory = tmp_path_factory.mktemp("spared")
    written, imports, metrics = directory / "modules.json", directory / "imports", free_port()
    (directory / "sitecustomize.py").write_text(WITNESS)
    (directory / "hello.py").write_text(APPLICATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        patch.setenv("MODULES_FILE", str(written))
        patch.setenv("IMPORTS_FILE", str(imports))
        flags = ("--metrics-bind", f"127.0.0.1:{metrics}", "--control", str(directory / "control.sock"))
        with Daemon(directory, "hello:application", "-w", "1", "--access-log", "access.log", *flags) as daemon:
            before, first = len(imports.read_text()), {str(process.pid) for process in daemon.processes()}
            workers = set(get(daemon.port, "/").decode().splitlines())
            for path in ("/metrics", "/", "/status.json", "/readyz", "/nothing"):
                get(metrics, path)
            assert daemon.reload()
            workers |= set(get(daemon.port, "/").decode().splitlines())
            daemon.stop()
    late = {name for pid, name in map(str.split, imports.read_text()[before:].splitlines()) if pid in first}
    told = json.loads(written.read_text())
    return Found(set(told["modules"]), workers, late, told["options"])


def test_the_master_does_without_what_it_has_no_use_for(found: Found) -> None:
    assert sorted(found.master & SPARED_BY_THE_MASTER.keys()) == []


def test_launcher_and_workers_do_without_what_they_have_no_use_for(found: Found) -> None:
    assert sorted(found.workers & SPARED_BY_WORKERS.keys()) == []


def test_nothing_of_the_command_line_is_left_in_the_master(found: Found) -> None:
    assert found.options == 0


def test_a_package_that_is_replaced_underneath_is_not_imported_from(found: Found) -> None:
    """An upgrade changes miniwsgi and what it needs under a daemon that runs; the standard library stays."""
    assert {name for name in found.late if name.partition(".")[0] not in sys.stdlib_module_names} == set()
