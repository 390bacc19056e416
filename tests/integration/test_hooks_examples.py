"""The examples of docs/hooks.md, each executed as it stands there by a daemon. `make test-agents` has the libraries."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.service import Service, get
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text("utf-8").partition("\n## Examples\n")[2]
EXAMPLES = dict(re.findall(r"### (\w+).*?\n```python\n(.*?)```", PAGE, flags=re.DOTALL))
ANSWER = """
def application(environ, start_response):
    text = answer(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [text.encode()]
"""


def start(service: Service, name: str, answer: str, *, workers: int = 2, behind: str = "", **environ: str):
    """A daemon with the example's hooks; `answer` is the application's part, which defines answer(path)."""
    (service.directory / "shop").mkdir(exist_ok=True)
    service.write("", "shop/__init__.py")
    service.write(EXAMPLES[name], "shop/hooks.py")
    service.write(answer + ANSWER + behind)
    return service.start("--hooks", "shop.hooks", "--workers", str(workers), environ=environ)


def stop(daemon) -> None:
    """It ends well, and no hook has complained."""
    assert daemon.stop() == 0
    assert "app.hooks" not in daemon.log()
    assert "Traceback" not in daemon.log()


def test_all_examples_are_known() -> None:
    assert sorted(EXAMPLES) == ["A", "APScheduler", "OpenTelemetry", "SQLAlchemy", "SQLite", "Sentry", "psycopg"]


def test_the_example_that_is_shipped(service: Service) -> None:
    service.write((ROOT / "packaging" / "examples" / "hooks.py").read_text("utf-8"), "hooks.py")
    daemon = service.start("--hooks", "hooks")
    daemon.wait_for_log("hook leader_start of hooks returned")
    stop(daemon)
    for name in ("loaded", "worker_start", "worker_ready", "worker_drain", "worker_stop", "leader_stop"):
        assert f"hook {name} of hooks returned" in daemon.log()


def test_sqlite(service: Service) -> None:
    daemon = start(
        service,
        "SQLite",
        """
from shop.hooks import connections
def answer(path):
    connection = connections.get()
    try:
        return str(connection.execute("SELECT 6 * 7").fetchone()[0])
    finally:
        connections.put(connection)
""",
        workers=1,
    )
    assert [get(daemon) for _ in range(4)] == ["42"] * 4
    stop(daemon)
    assert not (service.directory / "shop.db-wal").exists()  # its last connection is closed


def test_a_warm_cache(service: Service) -> None:
    (service.directory / "shop").mkdir()
    service.write(
        "import functools, os\n@functools.lru_cache\ndef prices():\n    return os.getpid()\n", "shop/catalogue.py"
    )
    daemon = start(service, "A", "from shop.catalogue import prices\ndef answer(path): return str(prices())\n")
    daemon.settle(2)
    assert {int(get(daemon)) for _ in range(6)} == set(daemon.launchers())
    stop(daemon)


# --- with their libraries, in `make test-agents` -----------------------------------------------------------


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is reported, and keeps it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.taken = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.agents
def test_opentelemetry(service: Service, collector) -> None:
    daemon = start(
        service,
        "OpenTelemetry",
        """
from opentelemetry import trace
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
def answer(path):
    with trace.get_tracer("shop").start_as_current_span("the answer"):
        return "ok"
""",
        behind="application = OpenTelemetryMiddleware(application)\n",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
    )
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    url = "http://{}:{}/".format(*daemon.address)
    asked = urllib.request.Request(url, headers={"traceparent": f"00-{trace}-{span}-01"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.read() == b"ok"
    stop(daemon)
    ((path, body),) = collector.taken
    assert path == "/v1/traces"
    assert b"the answer" in body
    assert body.count(bytes.fromhex(trace)) == 2  # the request's span, and that in it
    assert body.count(bytes.fromhex(span)) == 1  # the parent of the first


@pytest.mark.agents
def test_sentry(service: Service, collector) -> None:
    daemon = start(
        service,
        "Sentry",
        """
import sentry_sdk
def answer(path):
    sentry_sdk.capture_message("the last words")
    return "ok"
""",
        SENTRY_DSN=f"http://key@127.0.0.1:{collector.server_port}/1",
    )
    assert get(daemon) == "ok"
    stop(daemon)
    assert {path for path, body in collector.taken} == {"/api/1/envelope/"}


@pytest.mark.agents
def test_apscheduler_in_the_leader_alone(service: Service) -> None:
    (service.directory / "shop").mkdir()
    jobs = 'import os\ndef clean_up():\n    with open("cleaned", "a") as file: print(os.getpid(), file=file)\n'
    service.write(jobs, "shop/jobs.py")
    daemon = start(service, "APScheduler", "def answer(path): return 'ok'\n", workers=3)
    cleaned = service.directory / "cleaned"
    wait_for(cleaned.exists, "the job has run")
    daemon.settle(3)
    (first,) = cleaned.read_text().split()
    assert int(first) in daemon.workers()
    assert daemon.reload()
    wait_for(lambda: len(cleaned.read_text().split()) == 2, "the job of the new code")
    stop(daemon)
    assert len(set(cleaned.read_text().split())) == 2


@pytest.mark.agents
def test_sqlalchemy(service: Service) -> None:
    daemon = start(
        service,
        "SQLAlchemy",
        """
from shop.hooks import engine
from sqlalchemy import text
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))  # at import: the pool has a connection before the fork
def answer(path):
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT 6 * 7")).scalar())
""",
        DATABASE_URL=f"sqlite:///{service.directory}/shop.db",
    )
    assert [get(daemon) for _ in range(4)] == ["42"] * 4
    stop(daemon)


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of the test's own."""
    program = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if program is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    where = Path(tempfile.mkdtemp(prefix="miniwsgi-postgres-"))
    user = "nobody" if os.geteuid() == 0 else None  # it does not serve root
    if user:
        os.chown(where, pwd.getpwnam(user).pw_uid, -1)
    port, log = free_port(), where.with_suffix(".log")

    def run(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(Path(program).with_name(name)), *arguments]
        with log.open("ab") as said:
            return subprocess.Popen(command, user=user, cwd=where, stdout=said, stderr=said)

    data = str(where / "data")
    assert run("initdb", "-D", data, "-A", "trust", "-U", "shop", "--no-sync").wait(60) == 0
    server = run("postgres", "-D", data, "-p", str(port), "-k", str(where), "-h", "127.0.0.1", "-F")
    try:
        wait_for(lambda: b"ready to accept connections" in log.read_bytes(), "PostgreSQL", story=log.read_text)
        yield f"postgresql://shop@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(where)
        log.unlink()


@pytest.mark.agents
def test_psycopg(service: Service, postgres: str) -> None:
    daemon = start(
        service,
        "psycopg",
        """
from shop.hooks import pool
def answer(path):
    with pool.connection() as connection:
        return str(connection.execute("SELECT 6 * 7").fetchone()[0])
""",
        DATABASE_URL=postgres,
    )
    assert [get(daemon) for _ in range(4)] == ["42"] * 4
    assert daemon.reload()
    assert get(daemon) == "42"
    stop(daemon)
