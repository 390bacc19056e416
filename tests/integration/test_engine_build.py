"""`miniwsgi engine build`: an application in another Python gets the compiled engine, from its next generation on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from miniwsgi.daemon import engine_build
from miniwsgi.daemon.engine import builds, choice

from tests.support.ctl import Tool
from tests.support.programs import needs
from tests.support.service import Service, get

ROOT = Path(__file__).parents[2]
MINIWSGI = [sys.executable, "-m", "miniwsgi.daemon"]
BUILT, USAGE, NOT_BUILT = 0, 2, 1
OURS = sys.version_info[:2]


@pytest.fixture(autouse=True)
def nobody_has_built_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache directory of the user, which is looked in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MINIWSGI_ENGINE_FLAGS", "-O0")
    monkeypatch.delenv("MINIWSGI_SERVER_ENGINE", raising=False)  # which would win over a file
    return tmp_path / "cache" / "miniwsgi" / "engines"


@pytest.fixture(scope="module")
def other() -> engine_build.Interpreter:
    """A CPython of another version, that could run a compiled engine and runs none."""
    for minor in (12, 13, 14, 11):
        found = subprocess.run([ROOT / ".ci/find-python", f"3.{minor}"], capture_output=True, text=True)
        if found.returncode == 0 and (3, minor) != OURS:
            said = engine_build.ask(found.stdout.strip())
            if os.path.exists(f"{said.headers[0]}/Python.h"):
                return said
    pytest.skip("there is no other CPython with its headers")


def engine(*arguments: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*MINIWSGI, "engine", *arguments], env={**os.environ, **environ}, capture_output=True, text=True, timeout=250
    )
    return done.returncode, done.stdout, done.stderr


@needs("cc", "gcc")
def test_the_engine_is_built_where_it_can_be() -> None:
    """Else a whole run would test the plain one alone, and pass."""
    if not os.path.exists(f"{sysconfig.get_path('include')}/Python.h"):
        pytest.skip("this Python has no headers (Debian: python3-dev)")
    assert choice.available() == choice.names()


@needs("cc", "gcc")
def test_a_build_serves_the_next_generation_and_no_worker_of_this_one(
    service: Service, other: engine_build.Interpreter, nobody_has_built_one: Path
) -> None:
    socket = service.directory / "control.sock"
    daemon = service.start("--workers", "1", "--engine", "auto", "--python", other.python, "--control", str(socket))
    daemon.wait_for_log("start: done")
    plain = f"engine plain: no build for {other.name}"
    assert f"generation 1: {plain}\n" in daemon.log()

    status, said, _ = engine("build", "--python", other.python, "--directory", str(nobody_has_built_one))
    path = nobody_has_built_one / builds.key() / other.file
    assert (status, said.splitlines()[-1]) == (BUILT, f"wrote      {path}")
    assert f"{other.python} ({other.name}): compiled, {path}\n" in engine("list", "--python", other.python)[1]

    tool = Tool(socket)
    tool("scale", "2")
    assert f"engine:       plain: no build for {other.name}\n" in tool("status").out
    assert "engine compiled" not in daemon.log()
    assert tool("reload").status == 0
    assert "generation 2: engine compiled\n" in daemon.log()
    assert "engine:       compiled\n" in tool("status").out


def test_the_list_says_what_is_found_when_a_build_is_loaded(nobody_has_built_one: Path) -> None:
    path = nobody_has_built_one / builds.key() / builds.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no library, but: " + builds.mark(builds.key()))
    status, said, _ = engine("list")
    assert status == 0
    (told,) = (line for line in said.splitlines() if line.startswith(f"  {path}"))
    assert re.fullmatch(rf"  {path} does not load: .*(ELF header|file too short)", told)
    path.unlink()
    os.mkfifo(path)
    assert f"\n  {path} is no regular file\n" in engine("list")[1]


def test_one_that_is_asked_for_and_not_there_fails_the_start_with_the_remedy(
    service: Service, other: engine_build.Interpreter
) -> None:
    ended = service.run("--engine", "compiled", "--python", other.python, "--bind", "127.0.0.1:0")
    assert ended.returncode == 3
    assert (
        f'server.engine = "compiled" does not run here: no build for {other.name}; "auto" or "plain" does, '
        f"or make one: miniwsgi engine build --python {other.python}"
    ) in ended.stderr


def test_a_reload_that_asks_for_one_that_is_not_there_fails_and_changes_nothing(
    service: Service, other: engine_build.Interpreter
) -> None:
    socket = service.directory / "control.sock"
    text = f"""
    [app]
    module = "app"
    directory = "{service.directory}"
    python = "{other.python}"
    [server]
    engine = "ENGINE"
    workers = 1
    """
    file = service.write(text.replace("ENGINE", "plain"), "miniwsgi.toml")
    daemon = service.start("-c", str(file), "--control", str(socket))
    daemon.wait_for_log("start: done")
    service.write(text.replace("ENGINE", "compiled"), "miniwsgi.toml")
    reload = Tool(socket)("reload")
    assert reload.status == 1
    assert f'server.engine = "compiled" does not run here: no build for {other.name}; ' in reload.err
    assert get(daemon).startswith("v1")


CHOOSE = """
import importlib.util
spec = importlib.util.spec_from_file_location("launch", {launch!r})
launch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launch)
launch.packages({folder!r})
from miniwsgi.daemon.engine import choice
print(choice.choose("auto"), flush=True)
"""
IN_A_SECOND_INTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
exec(sys.argv[1])
interpreters.run_string(interpreters.create(), sys.argv[1])
"""


@needs("cc", "gcc")
def test_a_second_interpreter_of_a_process_runs_plain_and_says_so() -> None:
    folder = Path(engine_build.__file__).parents[1]
    choose = CHOOSE.format(launch=f"{folder}/daemon/worker/launch.py", folder=str(folder))
    command = [sys.executable, "-c", IN_A_SECOND_INTERPRETER, choose]
    first, second = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert first == "compiled"
    assert re.match("plain: .* does not load: .*(one interpreter per process|subinterpreters)", second)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"PATH": "/nowhere", "CC": "no-such-compiler"}, "there is no C compiler"),
        ({"CC": "/bin/false"}, "/bin/false failed"),
    ],
)
def test_what_cannot_be_built_is_told_and_nothing_is_left(
    other: engine_build.Interpreter, nobody_has_built_one: Path, environ: dict[str, str], why: str
) -> None:
    status, _, error = engine("build", "-p", other.python, "--directory", str(nobody_has_built_one), **environ)
    assert (status, why in error) == (NOT_BUILT, True), error
    assert [path for path in nobody_has_built_one.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"PATH": "/nowhere"}, r"there is no C compiler \("),
        ({"CC": "no-such-compiler"}, "there is no C compiler no-such-compiler, which CC names$"),
        ({"CC": 'cc "'}, '^CC=cc ": No closing quotation$'),
        ({"MINIWSGI_ENGINE_FLAGS": "-D'"}, "^MINIWSGI_ENGINE_FLAGS=-D': No closing quotation$"),
        ({}, "/file: File exists$"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    other: engine_build.Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], why: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(engine_build, "ask", lambda _python: other)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(engine_build.BuildError, match=why):
        list(engine_build.build(other.python, str(tmp_path / "file")))


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/cat", "/bin/true"])
def test_what_is_no_interpreter_is_wrong_usage(python: str) -> None:
    status, _, error = engine("build", "--python", python)
    assert status == USAGE
    assert error.startswith(f"miniwsgi: MW2312 {python}")
    assert engine("list", "--python", python)[0] == USAGE


def test_an_interpreter_without_headers_is_told_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = engine_build.ask(sys.executable)
    bare = engine_build.Interpreter(**{**vars(found), "headers": ["/nowhere"]})
    monkeypatch.setattr(engine_build, "ask", lambda _python: bare)
    with pytest.raises(engine_build.BuildError, match=r"has no C headers: there is no /nowhere/Python\.h \(Debian"):
        list(engine_build.build(sys.executable))


def test_a_build_that_does_not_load_takes_no_ones_place(
    nobody_has_built_one: Path, other: engine_build.Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "_engine.c"
    broken.write_text("int nothing_of_pythons;\n")
    monkeypatch.setattr(builds, "C_SOURCE", str(broken))
    monkeypatch.setattr(engine_build, "c_source_fits", lambda: True)
    with pytest.raises(engine_build.BuildError, match=r"the build does not load: .*PyInit__engine"):
        list(engine_build.build(other.python, str(nobody_has_built_one)))
    assert [path for path in nobody_has_built_one.rglob("*") if path.is_file()] == []
