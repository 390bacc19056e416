"""The command as a process: `serve --pool single` and `check` with a real application, and their exit statuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from miniwsgi.daemon import cli

from tests.support.users import as_root

PARENT = str(Path(cli.__file__).parents[2])
MINIWSGI = (sys.executable, "-m", "miniwsgi.daemon")
COMMAND = (*MINIWSGI, "serve", "--pool", "single")


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": PARENT}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=environ, cwd="/")


HELLO = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("GREETING", "PYTHONPATH", "VIRTUAL_ENV")
    return [repr([os.environ.get(name) for name in names]).encode()]
"""


def test_pool_single_serves_in_this_process_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    path = tmp_path / "x.sock"
    process = subprocess.Popen(
        [*COMMAND, "hello:app", "-b", f"unix:{path}", "-e", "GREETING=hello", "--set", "timeouts.graceful=1h"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PARENT, "VIRTUAL_ENV": "/x"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "listening on" in process.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(f"['hello', {PARENT!r}, None]".encode())
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert not path.exists()


def test_pool_single_tells_what_it_cannot_listen_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = serve("wsgiref.simple_server:demo_app", "-b", f"127.0.0.1:{port}")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert f"port {port} is in use" in failed.stderr


def test_pool_single_tells_why_the_application_does_not_boot(tmp_path: Path) -> None:
    failed = serve("no_such_module", "-b", f"unix:{tmp_path}/x.sock")
    assert failed.returncode == 3
    assert "no module named 'no_such_module'" in failed.stderr
    assert not (tmp_path / "x.sock").exists()


def check(directory: Path, target: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": PARENT, **environment}
    arguments = ("check", target, "--chdir", str(directory), *more)
    return subprocess.run([*MINIWSGI, *arguments], capture_output=True, text=True, timeout=60, env=environ, cwd="/")


def test_check_imports_the_application(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    done = check(tmp_path, "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"application:      hello: imported from {tmp_path}"


def test_check_shows_where_the_application_breaks(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import os\n1 / 0\n")
    done = check(tmp_path, "hello:app")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "application:      hello:app: did not boot"
    lines = done.stderr.splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", f'  File "{tmp_path}/hello.py", line 2, in <module>']
    assert lines[-1] == "miniwsgi: MW2302 cannot import hello: ZeroDivisionError: division by zero"


PICKY = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("out of order")
    start_response("200 OK", [])
    return []
"""


def test_check_asks_for_the_boot_check(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    done = check(tmp_path, "picky", "--access-log", str(tmp_path / "access.log"), MINIWSGI_APP_BOOT_CHECK="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "boot check:       /: answered"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".log"] == [], "it makes no files"
    done = check(tmp_path, "picky", MINIWSGI_APP_BOOT_CHECK="/broken")
    assert done.returncode == 3
    assert "RuntimeError: out of order" in done.stderr
    assert "/broken" in done.stderr.splitlines()[-1]


@as_root
def test_check_looks_as_the_services_user(tmp_path: Path) -> None:
    directory = tmp_path / "shop"
    directory.mkdir(mode=0o700)
    (directory / "hello.py").write_text(HELLO)
    done = check(directory, "hello", "--user", "65534", "--group", "65534")
    assert done.returncode == 2, done.stdout
    assert "uid 65534) may not enter " in done.stderr
    assert "there is nothing of that name" not in done.stderr


@as_root
def test_check_tells_that_the_services_user_may_not_run_the_interpreter() -> None:
    """A venv made by root may be a link into root's home; what check itself needs is imported before."""
    with tempfile.TemporaryDirectory() as name:  # pytest's are closed to others
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "hello.py").write_text(HELLO)
        barred = directory / "barred"
        barred.mkdir(mode=0o700)
        python = barred / "python"
        python.symlink_to(sys.executable)
        command = [
            python,
            "-m",
            "miniwsgi.daemon",
            "check",
            "hello",
            "--chdir",
            name,
            "--user",
            "65534",
            "--group",
            "65534",
        ]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, cwd="/")
    assert done.returncode == 3, done.stderr
    assert f"app.python: {python} cannot be executed: " in done.stderr
    assert f"uid 65534) may not enter {barred}, which is root's, mode 0700" in done.stderr
