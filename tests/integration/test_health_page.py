"""The status page of a real daemon in a real browser: live with its script, readable without, and silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.metrics import status_page

from tests.support.daemon import Daemon
from tests.support.metrics_client import port_of
from tests.support.programs import needs
from tests.support.service import Service, get

from .browser import Browser

pytestmark = needs("chromium")

TEXTS = "[...document.querySelectorAll('dt, .tile h2, th, td')].map(e => e.textContent.trim())"
PLACES = "[...document.querySelectorAll('main [data-v]')].map(e => e.dataset.v)"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "browser").mkdir()
    with Browser(tmp_path / "browser") as browser:
        yield browser


@pytest.fixture
def daemon(service: Service) -> Daemon:
    daemon = service.start("--workers", "2", "--metrics-bind", "127.0.0.1:0")
    daemon.settle(2)
    return daemon


def url_of(daemon: Daemon) -> str:
    where = port_of(daemon).where
    assert isinstance(where, tuple)
    return f"http://{where[0]}:{where[1]}/"


def test_the_page_is_live(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800)
    browser.open(url_of(daemon))
    browser.wait(lambda: "every 2 s" in browser.text("#fresh"), "it is live")
    before = int(browser.text('[data-v="requests.total|count"]'))
    for _ in range(3):
        get(daemon)
    browser.wait(lambda: int(browser.text('[data-v="requests.total|count"]')) == before + 3, "it counts")
    assert browser.text("#state") == "running"
    assert browser.text("#verdict") == "healthy"
    assert browser.value("document.title") == f"healthy: app on {os.uname().nodename}"
    assert browser.value("document.querySelectorAll('[data-rows=workers] tr').length") == 2
    browser.wait(lambda: browser.value("document.querySelector('polyline').getAttribute('points')"), "the chart")
    assert browser.errors == []


def test_workers_that_come_and_go_are_rows_that_do(daemon: Daemon, browser: Browser, tmp_path: Path) -> None:
    browser.view(400, 800, "dark")
    browser.open(url_of(daemon))
    rows = "[...document.querySelectorAll('[data-rows=workers] tr')].map(row => row.cells[2].textContent)"

    def shown() -> bool:
        return sorted(browser.value(rows)) == sorted(map(str, daemon.workers()))

    browser.wait(shown, "the first workers")
    assert daemon.reload()
    browser.wait(shown, "the next ones")
    assert browser.errors == []


def test_a_daemon_that_has_gone_is_told(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800)
    browser.open(url_of(daemon))
    browser.wait(lambda: "every 2 s" in browser.text("#fresh"), "it is live")
    assert daemon.stop() == 0
    browser.wait(lambda: browser.text("#state") == "no answer", "it says so")
    assert browser.text("#fresh").startswith("No answer for")
    assert browser.value("document.body.className") == "stale"


def test_without_its_script_the_same_is_there(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800, script=True)
    browser.open(url_of(daemon))
    browser.wait(lambda: "every 2 s" in browser.text("#fresh"), "it is live")
    live, places = browser.value(TEXTS), browser.value(PLACES)
    browser.view(1280, 800, script=False)
    browser.open(url_of(daemon))
    still = browser.value(TEXTS)
    assert len(still) == len(live)
    assert browser.value(PLACES) == places
    names = ("ready", "busy", "booting", "over 60 s", "Slot", "State")
    assert [text for text in still if text in names] == [text for text in live if text in names]
    assert browser.text('[data-v="counts.ready"]') == "2"
    assert "reloads every 5 s" in browser.text("#fresh")
    assert browser.errors == []


def test_the_script_writes_values_as_the_server_does(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800)
    browser.open(url_of(daemon))
    values = {
        "count": (0, 7, 999, 1000, 1234567),
        "rate": (0, 0.44, 99.94, 99.96, 12345.6),
        "seconds": (0, 0.0000004, 0.00085, 0.0012, 0.25, 0.9994, 1.0, 12.34, 99.94, 99.96, 3700),
        "age": (0, 0.9, 59, 60, 61, 3600, 3661, 86400, 86460, 90061, 1e6),
        "size": (0, 1 << 20, 34.6 * (1 << 20), 1 << 30, 150 * (1 << 30)),
        "percent": (0, 0.4, 41.4, 799.6),
        "share": (0, 0.126, 1),
        "part": (0, 0.0001, 0.001, 0.125, 0.9994, 0.9996, 1),
    }
    for format_, given in values.items():
        for value in given:
            written = browser.value(f"FORMATS.{format_}({value!r})")
            assert written == status_page.FORMATS[format_](value), (format_, value)


@pytest.mark.parametrize("script", [True, False])
def test_nothing_sticks_out(daemon: Daemon, browser: Browser, script: bool) -> None:
    for width in (1280, 768, 400, 320):
        browser.view(width, 800, script=script)
        browser.open(url_of(daemon))
        assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.errors == []
