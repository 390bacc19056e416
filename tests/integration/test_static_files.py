"""Static files of real workers: in every pool on each engine, beside busy threads, through reloads under load."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.settings import StaticFiles
from miniwsgi.metrics.scoreboard import REQUESTS

from tests.support.daemon import ALONE, Daemon
from tests.support.engines import ENGINES
from tests.support.waiting import wait_for

from .worker_applications import echo, holding
from .worker_harness import Site, pools

BIG = bytes(range(256)) * 32768  # 8 MiB: more than all socket buffers
CSS = b"a { color: red }\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[StaticFiles, ...]:
    root = tmp_path / "static"
    root.mkdir()
    (root / "a.css").write_bytes(CSS)
    (root / "big.bin").write_bytes(BIG)
    return (StaticFiles("/static/", str(root)),)


@pools()
@pytest.mark.parametrize("engine", ENGINES)
def test_in_every_pool(site: Site, files: tuple[StaticFiles, ...], pool: str, engine: str) -> None:
    worker = site.fork(echo, pool, static=files, engine=engine)
    client = site.connect()
    first = client.get("/static/a.css").answer()
    assert (first.status, first.body) == (200, CSS)
    assert client.get("/static/a.css", f"If-None-Match: {first.all('ETag')[0]}").answer().status == 304
    assert client.get("/echoed").answer().body == b"/echoed"
    slow = client.get("/static/big.bin").answer()
    assert (slow.status, slow.body == BIG) == (200, True)
    for path in ("/static/a.css", "/x", "/static/none", "/static/a.css"):
        client.get(path)
    assert [client.answer().body for _ in range(4)] == [CSS, b"/x", b"404 Not Found\n", CSS]
    client.close()
    counted = 8
    wait_for(lambda: worker.cells[REQUESTS] == counted, story=lambda: worker.cells[REQUESTS])
    assert "error" not in worker.log()


@pools("epoll-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_while_every_thread_of_the_application_is_busy(
    site: Site, files: tuple[StaticFiles, ...], pool: str, engine: str
) -> None:
    application, gate = holding(site)
    site.fork(application, pool, static=files, engine=engine, threads=2)
    held = [site.connect().get("/hold") for _ in range(6)]
    site.record.wait(2)
    for _ in range(3):
        assert site.get("/static/a.css").body == CSS
    assert site.get("/static/big.bin").body == BIG
    assert len(site.record.lines()) == 2
    gate.open(6)
    assert [client.answer().body for client in held] == [b"/hold"] * 6


PROJECT = """
import os
from django.conf import settings
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path

HERE = os.path.dirname(os.path.abspath(__file__))
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, INSTALLED_APPS=["django.contrib.staticfiles"],
    STATIC_URL="/static/", STATIC_ROOT=os.path.join(HERE, "static"), STATICFILES_DIRS=[os.path.join(HERE, "assets")],
    STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},
)
urlpatterns = [path("", lambda request: HttpResponse(static("site.css")))]

from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
COLLECT = "import shop; from django.core.management import call_command; call_command('collectstatic', verbosity=0)"
TABLE = """
[app]
module = "shop:application"
directory = "current"
[server]
workers = 2
[[static]]
path = "/static/"
directory = "current/static"
[static.cache]
"*.HASH.*" = "public, max-age=31536000, immutable"
"*" = "no-cache"
""".replace("HASH", "[0-9a-f]" * 12)


def release(root: Path, name: str) -> None:
    """A Django project with its files collected, live with the next reload."""
    (root / name / "assets").mkdir(parents=True)
    (root / name / "shop.py").write_text(PROJECT)
    (root / name / "assets" / "site.css").write_text(f"/* {name} */ body {{ background: url(bg.svg) }}")
    (root / name / "assets" / "bg.svg").write_text("<svg/>")
    subprocess.run([sys.executable, "-c", COLLECT], cwd=root / name, check=True, timeout=60)
    switch = root / "new"
    switch.symlink_to(name)
    switch.rename(root / "current")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    pytest.importorskip("django")
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    release(tmp_path, "one")
    (tmp_path / "miniwsgi.toml").write_text(TABLE)
    with Daemon(tmp_path, "-c", str(tmp_path / "miniwsgi.toml")) as daemon:
        yield daemon


class Asking:
    """A client that asks for a file again and again."""

    def __init__(self, daemon: Daemon, path: str) -> None:
        self.seen: list[bytes] = []
        self.failed: list[object] = []
        self._over = threading.Event()
        self._address, self._path = daemon.address, path
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
                body = response.read()
                (self.seen if response.status == 200 else self.failed).append(body)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                connection.close()
        connection.close()


def fetch(daemon: Daemon, path: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(*daemon.address, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.getheader("Cache-Control"), response.read()
    connection.close()
    return found


def test_a_release_is_live_with_its_reload(shop: Daemon, tmp_path: Path) -> None:
    """collectstatic's hashed names; a link that is switched under load changes nothing before the reload."""
    hashed = fetch(shop, "/")[2].decode()
    assert hashed.startswith("/static/site.")
    status, cache, old = fetch(shop, hashed)
    assert (status, cache) == (200, "public, max-age=31536000, immutable")
    assert b"/* one */" in old
    assert b"url(" in old
    with Asking(shop, "/static/site.css") as asking:
        wait_for(lambda: len(asking.seen) > 50)
        release(tmp_path, "two")
        for worker in shop.workers()[:1]:  # one that is replaced meanwhile is of the same generation
            subprocess.run(["kill", "-9", str(worker)], check=True)
        shop.settle(2)
        assert {fetch(shop, "/static/site.css")[2][:9] for _ in range(40)} == {b"/* one */"}
        until = len(asking.seen)
        assert {body[:9] for body in asking.seen} == {b"/* one */"}
        wait_for(lambda: len(asking.seen) > until)  # one that is surely of before the reload
        assert shop.reload()
        wait_for(lambda: asking.seen[-1][:9] == b"/* two */")
        wait_for(lambda: len(asking.seen) > until + 100)
    assert asking.seen[until][:9] == b"/* one */"
    new = fetch(shop, "/")[2].decode()
    assert new != hashed
    assert fetch(shop, new)[0] == 200
    assert fetch(shop, hashed)[0] == 404
