"""The status page of a real daemon in a real browser: live with its script, readable without, and silent."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.metrics_client import port_of
from tests.support.programs import needs
from tests.support.service import Service, get

from .browser import Browser

pytestmark = needs("chromium")

TEXTS = "[...document.querySelectorAll('dt:not(:has(span)), h2, h3, th')].map(e => e.textContent.trim())"
ROWS = "[...document.querySelectorAll('[aria-labelledby=h-workers] tbody tr')]"
TOTAL = "[...document.querySelectorAll('.tiles section')].at(-1).querySelector('.big').textContent"
LOOK = "look().then(() => true)"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "browser").mkdir()
    with Browser(tmp_path / "browser") as browser:
        yield browser


@pytest.fixture
def daemon(service: Service) -> Daemon:
    control = service.directory / "control.sock"
    daemon = service.start("--workers", "2", "--metrics-bind", "127.0.0.1:0", "--control", str(control))
    daemon.settle(2)
    return daemon


def url_of(daemon: Daemon) -> str:
    where = port_of(daemon).where
    assert isinstance(where, tuple)
    return f"http://{where[0]}:{where[1]}/"


def test_the_page_is_live(service: Service, daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800)
    browser.open(url_of(daemon))
    browser.value(LOOK)
    before = int(browser.value(TOTAL))
    for _ in range(3):
        get(daemon)
    browser.wait(lambda: browser.value(LOOK) and int(browser.value(TOTAL)) == before + 3, "it counts")
    assert browser.text("#state") == "running"
    assert browser.text("#verdict") == "healthy"
    assert browser.value("document.title") == f"healthy: app on {os.uname().nodename}"
    assert browser.value(f"{ROWS}.length") == 2
    drawn = "document.querySelectorAll('figure path.line, figure path.area').length"
    browser.wait(lambda: browser.value(LOOK) and browser.value(drawn), "the charts")
    with Control(service.directory / "control.sock") as control:

        def answered() -> bool:
            get(daemon)  # what comes while the master could not look is in no step
            return any(step["2xx"] == step["answers"] > 0 for step in control.get("/history")["steps"])

        daemon.wait(answered, "a step with answers")
        assert all(0 <= step["ready"] <= 2 for step in control.get("/history")["steps"])
    assert browser.errors == []


def test_workers_that_come_and_go_are_rows_that_do(daemon: Daemon, browser: Browser, tmp_path: Path) -> None:
    browser.view(400, 800, "dark")
    browser.open(url_of(daemon))
    rows = f"{ROWS}.map(row => row.cells[2].textContent)"

    def shown() -> bool:
        return browser.value(LOOK) and sorted(browser.value(rows)) == sorted(map(str, daemon.workers()))

    browser.wait(shown, "the first workers")
    assert daemon.reload()
    browser.wait(shown, "the next ones")
    os.kill(daemon.workers()[0], signal.SIGKILL)
    events = "[...document.querySelectorAll('.event')].map(e => e.textContent.replaceAll('\\u00a0', ' '))"
    lost = re.compile(r"worker \d+ ended by itself;.*reload: generation 2 .*;.*start: generation 1 ")
    browser.wait(lambda: browser.value(LOOK) and lost.search(";".join(browser.value(events))), "what happened")
    assert browser.errors == []


def test_a_daemon_that_has_gone_is_told(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800)
    browser.open(url_of(daemon))
    assert daemon.stop() == 0
    browser.wait(lambda: browser.value(LOOK) and browser.text("#state") == "no answer", "it says so")
    assert browser.text("#fresh").startswith("No answer for")
    assert browser.value("document.body.className") == "stale"
    title = browser.value("document.title")
    browser.value(LOOK)
    assert browser.value("document.title") == title  # however often it has asked
    assert title.startswith("no answer: ")


def test_without_its_script_the_same_is_there(daemon: Daemon, browser: Browser) -> None:
    browser.view(1280, 800, script=True)
    browser.open(url_of(daemon))
    browser.value(LOOK)
    live = browser.value(TEXTS)
    browser.view(1280, 800, script=False)
    browser.open(url_of(daemon))
    assert browser.value(TEXTS) == live
    assert browser.text(".big span") == "2"
    assert "anew every 5 s" in browser.text("#fresh")
    assert browser.errors == []


@pytest.mark.parametrize("script", [True, False])
def test_nothing_sticks_out(daemon: Daemon, browser: Browser, script: bool) -> None:
    for width in (1280, 768, 400, 320):
        browser.view(width, 800, script=script)
        browser.open(url_of(daemon))
        assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.errors == []
