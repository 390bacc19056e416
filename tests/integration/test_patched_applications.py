"""Applications that replace the standard library's blocking calls while they are imported: gevent, eventlet.

They are served as any other, by real threads: the first start, a reload to them, each pool, each way to preload. And
nothing of the server is imported any more once a worker has said that it is ready.
"""

from __future__ import annotations

import socket
import threading
from importlib.util import find_spec

import pytest

from tests.support.effort import effort
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}

# Each request waits as such applications do: in a lock, a sleep, a thread and a socket of what was patched.
APPLICATION = """
import socket, sys, threading, time

LATE = []

def audit(event, arguments):
    # Who imports: the nearest code that is not the import system's.
    if event == "import" and ARMED:
        frame = sys._getframe(1)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is not None and frame.f_globals.get("__name__", "").startswith("miniwsgi."):
            LATE.append(arguments[0])

ARMED = []
sys.addaudithook(audit)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/check":  # app.boot_check: the last that is called before a worker is ready
        ARMED.append(True)
    elif path == "/late":
        start_response("200 OK", [])
        return [repr(LATE).encode()]
    elif path == "/locks":  # under which modules are imported
        start_response("200 OK", [])
        return [type(sys.modules["importlib._bootstrap"]._thread.allocate_lock).__name__.encode()]
    elif path == "/socket":  # as libraries of WebSocket do: one thread reads on while another is told
        sock, received, come = environ["werkzeug.socket"], [], threading.Event()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\n\\r\\n")
        def read():
            while data := sock.recv(100):
                received.append(data)
                come.set()
        threading.Thread(target=read).start()
        come.wait()
        sock.sendall(received[0])
        return []
    elif path == "/raise":
        raise ValueError("for its traceback")
    else:
        time.sleep(0.02)
        done = threading.Event()
        thread = threading.Thread(target=done.set)
        thread.start()
        thread.join()
        left, right = socket.socketpair()
        left.sendall(b"x")
        assert done.wait(10) and right.recv(1) == b"x"
    start_response("200 OK", [])
    return [VERSION.encode()]

VERSION = "v1"
"""


def ask_at_once(daemon, paths: list[str]) -> list[str]:
    answers: list[str] = []
    threads = [threading.Thread(target=lambda path=path: answers.append(get(daemon, path))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def echo(daemon, data: bytes) -> bytes:
    with socket.create_connection(daemon.address, PATIENCE_SECONDS) as client:
        client.sendall(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        client.sendall(data)
        return client.recv(100)


SHORT = [
    ("gevent", ["epoll", "--threads", "4"], "auto"),
    ("gevent", ["prefork"], "true"),
    ("gevent", ["fork", "--threads", "4"], "auto"),
]
LONG = [
    *SHORT,
    ("gevent", ["epoll", "--threads", "1"], "true"),
    ("gevent", ["prefork"], "false"),
    ("eventlet", ["epoll", "--threads", "4"], "auto"),
    ("eventlet", ["prefork"], "true"),
    ("eventlet", ["fork", "--threads", "4"], "false"),
]


@pytest.mark.parametrize(
    ("patch", "pool", "preload"),
    effort(SHORT, LONG),
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_patched_application_serves_after_a_reload_to_it(
    service: Service, patch: str, pool: list[str], preload: str
) -> None:
    if find_spec(patch) is None:
        pytest.skip(f"{patch} is not there for this Python")
    service.write(APPLICATION)
    keys = f'boot_check = "/check"\npreload = "{preload}"\n[log]\naccess_log = "-"\n[server]\nworkers = 1\n'
    daemon = service.start("-c", service.configure(keys), "--pool", *pool)
    for version, source in (
        ("v1", APPLICATION),
        ("v2", f"{PATCHES[patch]}\n" + APPLICATION.replace("v1", "v2")),
        ("v3", f"{PATCHES[patch]}\n" + APPLICATION.replace("v1", "v3")),
    ):
        if version != "v1":
            service.write(source)
            assert daemon.reload()
        # An old worker may still take a connection while its order to drain is on the way.
        daemon.wait(lambda version=version: get(daemon) == version, f"an answer of {version}")
        assert ask_at_once(daemon, ["/"] * 6) == [version] * 6
        assert get(daemon, "/raise").startswith("500")
        assert get(daemon, "/late") == "[]"
        if pool[-2:] == ["--threads", "4"] and pool[0] == "epoll":
            assert get(daemon, "/locks") == "builtin_function_or_method"
            assert echo(daemon, b"over a socket") == b"over a socket"
    daemon.wait_for_log("for its traceback", 3)
    assert daemon.stop() == 0
    assert "is killed" not in daemon.log()
