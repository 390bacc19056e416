"""`miniwsgictl top` on a terminal and a running daemon: what it shows and does, and how it leaves the terminal."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.support.ctl import Terminal, Tool
from tests.support.daemon import Daemon
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS

DOWN = "\x1b[B"


def start(service: Service) -> tuple[Daemon, Tool]:
    ctl = Tool(service.directory / "control.sock")
    daemon = service.start("--workers", "2", "--control", str(ctl.socket))
    daemon.wait_for_log("start: done")
    return daemon, ctl


def shown(terminal: Terminal) -> int:
    """Wait for the first screen."""
    return terminal.wait_for("q quit")


def test_it_shows_workers_and_requests_and_leaves_a_clean_terminal(service: Service) -> None:
    daemon, ctl = start(service)
    service.hold()
    request = threading.Thread(target=get, args=(daemon, "/hold"))
    request.start()
    with ctl.on_terminal("top", "-d", "0.2") as terminal:
        shown(terminal)
        terminal.wait_for("GET /hold")
        assert "2/2 ready" in terminal.text
        assert terminal.text.startswith("\x1b[?1049h")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
    service.release()
    request.join()


def test_keys_scale_restart_and_reload(service: Service) -> None:
    daemon, ctl = start(service)
    with ctl.on_terminal("top", "-d", "0.2") as terminal:
        at = shown(terminal)
        terminal.type("+")
        at = terminal.wait_for("one worker more than 2?", at)
        terminal.type("n+y")  # no, and then yes
        at = terminal.wait_for("scale to 3 workers: done", at)
        at = terminal.wait_for("3/3 ready", at)
        terminal.type("-y")
        at = terminal.wait_for("scale to 2 workers: done", at)
        before = set(daemon.workers())
        terminal.type(f"{DOWN}ry")
        at = terminal.wait_for("restart of slot 1: done", at)
        daemon.wait(lambda: len(before & set(daemon.workers())) == 1, "one new worker")
        terminal.type("Ry")
        at = terminal.wait_for("reload: done", at)
        # In vain while the worker that is selected is about to be gone; what was asked for twice comes twice.
        at = terminal.type_until("d", "most recent call first", at)
        terminal.type("\x1b")
        at = terminal.type_until("\t", "ROUTE", at)
        at = terminal.type_until("3", "operation.ended", at)  # twice as well: it stays there
        terminal.type("/drains\r")
        at = terminal.wait_for("filter: drains", at)
        terminal.type("\x1b1")
        at = terminal.type_until("\r", "THREAD", at)
        at = terminal.type_until("bKy", "at once: done", at)  # stacks that were asked for twice may come in between
        terminal.type_until("?", "the other way round", at)
        terminal.type(" s")
        assert terminal.quit() == 0
        assert terminal.is_clean()


def test_a_reload_that_fails_is_shown_with_its_traceback(service: Service) -> None:
    _, ctl = start(service)
    service.write("import nonsense_that_is_nowhere\n")
    with ctl.on_terminal("top") as terminal:
        at = shown(terminal)
        terminal.type("Ry")
        at = terminal.wait_for("reload failed", at)
        terminal.wait_for("nonsense_that_is_nowhere", at)
        terminal.type("xq")
        assert terminal.end() == 0
        assert terminal.is_clean()


@pytest.mark.parametrize(
    ("how", "status"), [("\x03", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)]
)
def test_however_it_is_ended_the_terminal_is_clean(how: str | signal.Signals, status: int, service: Service) -> None:
    _, ctl = start(service)
    with ctl.on_terminal("top") as terminal:
        shown(terminal)
        if isinstance(how, str):
            terminal.type(how)
        else:
            terminal.signal(how)
        assert terminal.end() == status
        assert terminal.is_clean()


def test_it_ends_with_its_terminal(service: Service) -> None:
    daemon, ctl = start(service)
    with ctl.on_terminal("top", "-d", "0.2") as terminal:
        shown(terminal)
        terminal.hang_up()
        assert terminal.process.wait(PATIENCE_SECONDS) == 129
    assert daemon.process.poll() is None


def test_a_failure_inside_leaves_a_clean_terminal_too(service: Service) -> None:
    _, ctl = start(service)
    for seconds in ("2", "10", "60"):  # it has to be shown before
        with ctl.on_terminal("top", "--timeout", seconds) as terminal:
            assert terminal.end() == 4
            assert terminal.is_clean()
        if "q quit" in terminal.text:
            break
    assert "q quit" in terminal.text
    assert "top ended after --timeout" in terminal.text


def test_it_is_suspended_and_goes_on(service: Service) -> None:
    _, ctl = start(service)
    with ctl.on_terminal("top") as terminal:
        at = shown(terminal)
        terminal.type("\x1a")
        terminal.wait(terminal.is_suspended, "its suspension")
        assert terminal.is_clean()
        terminal.signal(signal.SIGCONT)
        terminal.wait_for("\x1b[?1049h", at)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_clean()


def test_it_follows_the_size_of_the_terminal(service: Service) -> None:
    _, ctl = start(service)
    with ctl.on_terminal("top", LINES="24", COLUMNS="80") as terminal:
        at = shown(terminal)
        assert "REQUESTS" not in terminal.text
        terminal.resize(120, 40)
        at = terminal.wait_for("REQUESTS", at)
        terminal.resize(30, 8)
        at = terminal.wait_for("too small: 40×12", at)
        terminal.resize(80, 24)
        terminal.wait_for("q quit", at)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_clean()


def test_it_outlives_the_daemon(service: Service) -> None:
    daemon, ctl = start(service)
    with ctl.on_terminal("top", "-d", "0.2") as terminal:
        at = shown(terminal)
        assert daemon.stop() == 0
        at = terminal.wait_for("NO ANSWER", at)
        start(service)
        at = terminal.wait_for("running  up", at)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_clean()


def test_a_terminal_without_a_cursor_to_move_is_refused(service: Service) -> None:
    _, ctl = start(service)
    with ctl.on_terminal("top", TERM="dumb") as terminal:
        assert terminal.end() == 2
        assert "TERM is dumb" in terminal.text
