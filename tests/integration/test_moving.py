"""Three projects move: a Django one from gunicorn.conf.py with hooks, a Flask one from a Procfile, one from uwsgi.ini.

The two of gunicorn's answer the same requests there first; what is imported has to answer as they did.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import migrated
from tests.support.daemon import ALONE, Daemon
from tests.support.ports import free_port
from tests.support.proxies import NginxOf
from tests.support.waiting import PATIENCE_SECONDS, wait_for

PROJECTS = Path(__file__).parents[1] / "support" / "projects"
Answer = tuple[int, str, bytes]
Request = tuple[str, str, dict[str, str], bytes]
BEHIND_A_PROXY = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Host": "shop.example"}


@pytest.fixture(autouse=True)
def platform(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in migrated.FOREIGN:
        monkeypatch.delenv(name, raising=False)


def project(name: str, directory: Path) -> Path:
    return Path(shutil.copytree(PROJECTS / name, directory / name))


def miniwsgi(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "miniwsgi.daemon", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done


def convert(directory: Path, *arguments: str) -> str:
    """Run `miniwsgi import`; what it has written."""
    miniwsgi(directory, "import", "-o", "miniwsgi.toml", *arguments)
    return (directory / "miniwsgi.toml").read_text("utf-8")


def ask(connection: http.client.HTTPConnection, requests: list[Request]) -> list[Answer]:
    """What each is answered with: status, media type, body."""
    answers = []
    for method, path, headers, body in requests:
        connection.request(method, path, body=body or None, headers=headers)
        response = connection.getresponse()
        answers.append((response.status, response.headers.get("Content-Type", ""), response.read()))
    return answers


def answers_at(port: int, requests: list[Request]) -> list[Answer]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        return ask(connection, requests)
    finally:
        connection.close()


@contextmanager
def gunicorn(command: list[str] | str, directory: Path, port: int, **environ: str) -> Iterator[None]:
    """It serves, as it did before, and is gone afterwards."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (directory / "gunicorn.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PATH": path, "PYTHONPATH": "", **environ},
            shell=isinstance(command, str),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def listens() -> bool:
        assert process.poll() is None, (directory / "gunicorn.log").read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, "gunicorn listens", PATIENCE_SECONDS)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


class Served(Daemon):
    """A daemon that takes all from its file and its environment, its addresses too."""

    def __init__(self, project: Path, **environ: str) -> None:
        directory = project.parent / "daemon"
        directory.mkdir()
        super().__init__(directory, "-c", str(project / "miniwsgi.toml"))
        at = self._argv.index("--bind")
        del self._argv[at : at + 2]
        self._patch = pytest.MonkeyPatch()
        for name, value in {**ALONE, **environ}.items():
            self._patch.setenv(name, value)

    def __exit__(self, *error: object) -> None:
        self._patch.undo()
        super().__exit__(*error)


def form(name: str) -> Request:
    return "POST", "/order", {"Content-Type": "application/x-www-form-urlencoded"}, f"name={name}".encode()


def test_a_django_project_moves_with_its_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, port = project("django", tmp_path), free_port()
    monkeypatch.setenv("SHOP_BIND", f"127.0.0.1:{port}")
    requests: list[Request] = [
        ("GET", "/", {"Host": "shop.example"}, b""),
        ("GET", "/?a=1&b=%20", BEHIND_A_PROXY, b""),
        ("GET", "/stock", {}, b""),
        ("GET", "/visits", {}, b""),
        ("GET", "/report", {}, b""),
        ("GET", "/nothing", {}, b""),
        ("HEAD", "/report", {}, b""),
        form("chair"),
        ("POST", "/order", {"Content-Type": "text/plain"}, b"x" * 300_000),
    ]
    with gunicorn([sys.executable, "-m", "gunicorn"], directory, port):
        before = answers_at(port, requests)
    assert [status for status, _, _ in before] == [200, 200, 200, 200, 200, 404, 200, 201, 201]
    assert b'"secure": true' in before[1][2]

    text = convert(directory, "gunicorn.conf.py")
    assert "# was min(2, multiprocessing.cpu_count() + 1)" in text
    assert "pre_request" in text
    ours = (directory / "shop" / "hooks.py").read_text("utf-8")
    named = re.findall(r"^# (def \w+\(.*?\)): \.\.\.$", text, re.MULTILINE)
    assert set(re.findall(r"^(def .*?):$", ours, re.MULTILINE)) <= set(named)
    hooked = text.replace("[app]\n", '[app]\nhooks = "shop.hooks"\n', 1)
    (directory / "miniwsgi.toml").write_text(hooked, "utf-8")

    # What on_starting did, as ExecStartPre= does it.
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=directory, check=True, timeout=PATIENCE_SECONDS)
    (directory / "closed").unlink(missing_ok=True)
    with Served(directory) as daemon:
        assert answers_at(port, requests) == before
        workers = daemon.workers()
        assert daemon.stop() == 0, daemon.log()
    assert sorted((directory / "closed").read_text().split()) == sorted(map(str, workers))
    assert "GET /?a=1&b=%20" in (directory / "access.log").read_text()


def test_a_flask_project_moves_from_a_procfile(tmp_path: Path) -> None:
    directory, port = project("flask", tmp_path), free_port()
    web = next(line for line in (directory / "Procfile").read_text().splitlines() if line.startswith("web: "))
    json_headers = {"Content-Type": "application/json", **BEHIND_A_PROXY}
    requests: list[Request] = [
        ("GET", "/notes/", {"Host": "notes.example"}, b""),
        ("GET", "/notes/?q=1", BEHIND_A_PROXY, b""),
        ("POST", "/notes/", json_headers, b'{"text": "milk"}'),
        ("GET", "/notes/stream", {}, b""),
        ("GET", "/notes/fails", {}, b""),
        ("DELETE", "/notes/", {}, b""),
    ]
    with gunicorn(web.partition(": ")[2], directory, port, PORT=str(port)):
        before = answers_at(port, requests)
    assert [status for status, _, _ in before] == [200, 200, 201, 200, 500, 405]

    text = convert(directory, "Procfile")
    assert """factory = "notes:create_app('/notes', debug=False)\"""" in text
    assert "python -m notes.worker" in text
    checked = miniwsgi(directory, "check", "-c", "miniwsgi.toml")
    assert "imported from" in checked.stdout
    with Served(directory, PORT=str(port)) as daemon:
        assert answers_at(port, requests) == before
        assert daemon.stop() == 0, daemon.log()
        assert "RuntimeError: on purpose" in daemon.log()


NGINX_BEFORE = """
    location /board/ {{
        include /etc/nginx/uwsgi_params;
        uwsgi_pass unix:{path};
    }}
"""


def test_a_project_moves_from_uwsgi_ini(tmp_path: Path) -> None:
    """Behind nginx, of which nothing changes."""
    NginxOf.need()
    directory = project("uwsgi", tmp_path)
    path = directory / "board.sock"
    text = convert(directory, "board.ini")
    assert 'bind = ["uwsgi:unix:board.sock"]' in text
    requests: list[Request] = [
        ("GET", "/board/", {"Host": "board.example"}, b""),
        ("GET", "/board/post/3", BEHIND_A_PROXY, b""),
        ("GET", "/board/nothing", {}, b""),
    ]
    with Served(directory) as daemon, NginxOf(tmp_path / "nginx", NGINX_BEFORE.format(path=path)) as nginx:
        assert path.stat().st_mode & 0o777 == 0o660
        connection = nginx.connect(tls=True, source="127.0.0.9")
        answers = ask(connection, requests)
        connection.close()
        assert [(status, body) for status, _, body in answers[:2]] == [
            (200, b"welcome live /board /board/post/3 https"),
            (200, b"post 3 from 127.0.0.9"),
        ]
        assert answers[2][0] == 404
        assert daemon.stop() == 0, daemon.log()
    assert not path.exists()
    lines = (directory / "access.log").read_text().splitlines()
    assert any(line.startswith('127.0.0.9 "GET /board/post/3 HTTP/1.1" 200 ') for line in lines)
