"""Every command in README.md does what it says: the code blocks are taken from there and run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.daemon import ALONE
from tests.support.ports import free_port
from tests.support.programs import needs
from tests.support.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(README) if found == language]


def commands() -> list[str]:
    lines = (line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines())
    return [line for line in lines if line]


COMMANDS = commands()


def kind(command: str) -> str:
    return " ".join(command.split()[:2])


def miniwsgi(command: str) -> list[str]:
    return [sys.executable, "-m", "miniwsgi.daemon", *shlex.split(command)[1:]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with the README's application and its configuration file."""
    (source,) = blocks("python")
    (configuration,) = blocks("toml")
    (tmp_path / "shop.py").write_text(source)
    (tmp_path / "miniwsgi.toml").write_text(configuration)
    return tmp_path


def environment(port: int) -> dict[str, str]:
    return {**os.environ, **ALONE, "MINIWSGI_SERVER_BIND": f"127.0.0.1:{port}"}


def get(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = PATIENCE_SECONDS) -> bytes:
    """What a URL answers, as soon as somebody listens."""

    def answer() -> bytes:
        ended = process.poll() is not None
        try:
            with urllib.request.urlopen(url, timeout=seconds) as response:
                return bytes(response.read())
        except urllib.error.URLError:
            if ended:
                pytest.fail(f"{process.args!r} has ended: {log.read_text('utf-8', 'replace')}")
            return b""

    return wait_for(answer, url, seconds, story=lambda: log.read_text("utf-8", "replace"))


def test_the_readme_begins_with_serving_and_testing() -> None:
    assert [kind(command) for command in COMMANDS[:2]] == ["make serve", "make test"]


def test_no_command_in_the_readme_is_left_untested() -> None:
    known = {"make serve", "make test", "make bench-quick", "pip install", "miniwsgi serve", "miniwsgi check"}
    known.add("curl http://127.0.0.1:9464/metrics")
    known.add("curl http://127.0.0.1:9464/readyz")
    assert {kind(command) for command in COMMANDS if not command.startswith("miniwsgictl ")} <= known


SHORT = {"miniwsgictl why": ["--seconds", "1"], "miniwsgictl profile": ["--seconds", "0.2"]}
FINDINGS = {  # beside 0: what is found says it, and of idle workers there is no profile
    "miniwsgictl why": {10, 20},
    "miniwsgictl doctor": {10, 20},
    "miniwsgictl profile": {1},
}


def test_the_tool_does_what_the_readme_shows(site: Path) -> None:
    pytest.importorskip("flask")
    port, metrics, log, control = free_port(), free_port(), site / "daemon.log", site / "control.sock"
    serve = [*miniwsgi("miniwsgi serve shop:app --workers 2"), "--control", str(control)]
    serve += ["--metrics-bind", f"127.0.0.1:{metrics}"]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            serve, cwd=site, env=environment(port), stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        get(f"http://127.0.0.1:{port}/", process, log)
        shown = [command for command in COMMANDS if command.startswith("miniwsgictl ")]
        assert shown[-1] == "miniwsgictl stop"
        for command in COMMANDS:
            if command.startswith("curl "):
                get(command.split()[1].replace("9464", str(metrics)), process, log)
        for command in shown:
            done = subprocess.run(
                [sys.executable, "-m", "miniwsgi.manager.client", *shlex.split(command)[1:], *SHORT.get(command, ())],
                cwd=site,
                env={**os.environ, "MINIWSGI_CONTROL": str(control)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode in {0} | FINDINGS.get(command, set()), f"{command}: {done.stderr}"
        assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
    finally:
        end(process)


@needs("make")
@pytest.mark.parametrize("command", sorted({c for c in COMMANDS if c.startswith("make ")}))
def test_make_knows_the_target(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("miniwsgi check")])
def test_check_accepts_what_the_readme_shows(command: str, site: Path) -> None:
    pytest.importorskip("flask")
    done = subprocess.run(
        miniwsgi(command), cwd=site, env=environment(free_port()), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("miniwsgi serve")])
def test_serve_serves_the_readmes_application(command: str, site: Path) -> None:
    pytest.importorskip("flask")
    port, log = free_port(), site / "daemon.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            miniwsgi(command), cwd=site, env=environment(port), stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        assert get(f"http://127.0.0.1:{port}/", process, log) == b"Welcome\n"
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
    finally:
        end(process)


def test_the_configuration_file_is_valid_as_it_stands(site: Path) -> None:
    done = subprocess.run(
        miniwsgi("miniwsgi config -c miniwsgi.toml --json"), cwd=site, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "unix:" in done.stdout


@needs("make")
@pytest.mark.skipif(not (ROOT / ".venv" / ".serve").exists(), reason="nothing is installed in .venv")
def test_make_serve_serves_the_demo(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    # The make that runs these tests would have its own ARGS obeyed here, too.
    clean = {name: value for name, value in os.environ.items() if name not in {"ARGS", "MAKEFLAGS", "MAKEOVERRIDES"}}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["make", "serve", f"BIND=127.0.0.1:{port}"],
            cwd=ROOT,
            env={**clean, **ALONE},
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        assert b"miniwsgi" in get(f"http://127.0.0.1:{port}/", process, log)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(PATIENCE_SECONDS)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session of a command."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(PATIENCE_SECONDS)
