"""What a worker settles for all its conversations when it boots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon import temporary
from miniwsgi.daemon.engine.https_policy import REDIRECT
from miniwsgi.daemon.engine.site import Site
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings, StaticFiles
from miniwsgi.metrics.board import Board


def site_of(*listeners: Listener, **chosen: Any) -> Site:
    board = Board.create()
    settings = Settings(generation=1, listeners=listeners, scoreboard_fd=board.fd, module="x", directory="/", **chosen)
    return Site(settings, board.claim(0), ErrorLog("info", "text", False, "worker", slot=0), None, lambda *_: [], None)


def spool_directory(**chosen: str) -> tuple[Site, str | None]:
    """A site, and where it keeps what is too large for memory."""
    site = site_of(**chosen)
    return site, found(site)


def found(site: Site) -> str | None:
    return site.parser_for({"REMOTE_ADDR": "127.0.0.1"}, Connection).spool_directory


def test_where_large_bodies_go_is_settled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    site, directory = spool_directory()
    assert directory == str(tmp_path)
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    monkeypatch.setattr(temporary.os, "access", lambda *_: pytest.fail("it is looked for again"))
    assert found(site) == str(tmp_path)
    assert spool_directory(spool_directory="/chosen")[1] == "/chosen"


def test_a_worker_boots_where_there_is_no_place_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary.os, "access", lambda *_: False)
    assert spool_directory()[1] is None


@pytest.mark.parametrize("internal", [False, True])
def test_plain_http_is_redirected_also_where_the_application_names_files(tmp_path: Path, internal: bool) -> None:
    entry = StaticFiles("/protected/", str(tmp_path), internal=internal)
    site = site_of(Listener(0, "127.0.0.1:80", False, "127.0.0.1", "80", redirect=443), static=(entry,))
    told: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/", "REQUEST_URI": "/", "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "http", REDIRECT: 443,
    }  # fmt: skip
    site.application(environ, lambda status, *_: told.append(status))
    assert told == ["308 Permanent Redirect"]
