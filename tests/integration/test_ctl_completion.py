"""Completion: each shell gets a script, and what it is told is what there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client import socket_paths

from tests.support.ctl_daemon import FakeDaemon, run, worker
from tests.support.programs import program

ROOT = Path(__file__).resolve().parents[2]
COMPLETION = ROOT / "packaging" / "completion"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the PATH with `miniwsgictl` and `miniwsgi` in it."""
    for name, module in (("miniwsgictl", "miniwsgi.manager.client"), ("miniwsgi", "miniwsgi.daemon")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def completed(*words: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word, by click's protocol for bash."""
    environ = {
        **os.environ,
        "_MINIWSGICTL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(("miniwsgictl", *words)),
        "COMP_CWORD": str(len(words)),
    }
    found = subprocess.run(
        [sys.executable, "-m", "miniwsgi.manager.client"], capture_output=True, text=True, env=environ, timeout=60
    )
    assert found.stderr == ""
    return [line.partition(",")[2] for line in found.stdout.splitlines() if line]


def test_commands_options_and_values() -> None:
    assert completed("re") == ["reload", "restart"]
    assert set(completed("scale", "--")) >= {"--reset", "--persist", "--no-wait", "--timeout", "--socket"}
    assert completed("status", "-o", "j") == ["json"]
    assert completed("log-level", "") == ["debug", "info", "warning", "error"]
    assert completed("config", "d") == ["diff"]


def test_slots_and_instances_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = ms.WorkerList([worker(0), worker(1), worker(12)])
    with FakeDaemon(tmp_path / "s", {"GET /workers": crowd}):
        monkeypatch.setenv("MINIWSGI_CONTROL", str(tmp_path / "s"))
        assert completed("stack", "") == ["0", "1", "12"]
        assert completed("restart", "1") == ["1", "12"]
    assert completed("stack", "") == []
    (tmp_path / "miniwsgi" / "shop").mkdir(parents=True)
    (tmp_path / "miniwsgi" / "shop" / socket_paths.NAME).touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert completed("-i", "sh") == ["shop"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    found = run("completion", shell)
    assert found.status == 0
    assert f"_MINIWSGICTL_COMPLETE={shell}_complete" in found.out.replace("env ", "")


@pytest.mark.parametrize("arguments", [[], ["tcsh"]])
def test_other_shells(arguments: list[str]) -> None:
    assert run("completion", *arguments).status == 2


@pytest.mark.parametrize("command", ["miniwsgictl", "miniwsgi"])
def test_bash_completes_with_the_file_that_is_installed(command: str, path: Path) -> None:
    bash = program("bash")
    word = {"miniwsgictl": "undr", "miniwsgi": "serv"}[command]
    script = f"""
        set -e
        source {COMPLETION}/bash/{command}
        COMP_WORDS=({command} {word}); COMP_CWORD=1
        _{command}_completion {command} {word} {command}
        echo "${{COMPREPLY[@]}}"
    """
    found = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, timeout=60)
    assert (found.stdout.strip(), found.stderr) == ({"undr": "undrain", "serv": "serve"}[word], "")


@pytest.mark.parametrize(
    ("shell", "name"),
    [("zsh", "_miniwsgictl"), ("zsh", "_miniwsgi"), ("fish", "miniwsgictl.fish"), ("fish", "miniwsgi.fish")],
)
def test_the_other_shells_take_the_files_that_are_installed(shell: str, name: str, path: Path) -> None:
    command = name.removesuffix(".fish").removeprefix("_")
    word = {"miniwsgictl": "undr", "miniwsgi": "serv"}[command]
    if shell == "fish":
        script = f"source {COMPLETION}/fish/{name}; complete -C '{command} {word}'"
    else:  # the completion system needs a terminal: that the file defines the function is what can be seen
        script = f"""
            autoload -Uz compinit; fpath=({COMPLETION}/zsh $fpath); compinit -u -D
            print $_comps[{command}]; compadd() {{ }}; _describe() {{ }}; {name} 2>/dev/null
            whence -w _{command}_completion
        """
    found = subprocess.run([program(shell), "-c", script], capture_output=True, text=True, timeout=60)
    wanted = {"undr": "undrain", "serv": "serve"}[word] if shell == "fish" else f"_{command}_completion: function"
    assert wanted in found.stdout, found.stderr
