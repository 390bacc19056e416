"""`miniwsgi import`: where it writes, how it ends, and that what it writes is a configuration of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from miniwsgi.daemon.cli import commands
from miniwsgi.daemon.config import load
from miniwsgi.daemon.migration import commented_toml
from miniwsgi.daemon.migration.draft import Draft, Heading
from miniwsgi.daemon.migration.setting import Given, Place


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(commands.commands, ("import", *arguments), prog_name="miniwsgi")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


# --- where it writes ----------------------------------------------------------------------------------
def test_it_writes_a_configuration_to_standard_output(directory: Path) -> None:
    result = run(write("gunicorn.conf.py", "workers = 2\nwsgi_app = 'shop:app'\n"))
    assert result.exit_code == 0, result.output
    config = load(None, {}, {}, result.stdout, directory=str(directory))
    assert (config.server.workers, config.app.module, config.app.directory) == (2, "shop:app", str(directory))
    assert "# --- What will behave differently" in result.stdout
    assert result.stderr == ""


def test_warnings_go_to_standard_error(directory: Path) -> None:
    result = run(write("gunicorn.conf.py", "workers = 2\nprint('hello')\n"))
    assert "gunicorn.conf.py printed: hello" in result.stderr
    assert "hello" not in result.stdout


def test_a_file_is_not_overwritten_without_force(directory: Path) -> None:
    conf = write("gunicorn.conf.py", "wsgi_app = 'shop'\n")
    output = Path(write("miniwsgi.toml", "mine"))
    result = run(conf, "-o", "miniwsgi.toml")
    assert (result.exit_code, output.read_text()) == (1, "mine")
    assert "miniwsgi.toml exists already: --force overwrites it" in result.stderr
    assert run(conf, "-o", "miniwsgi.toml", "--force").exit_code == 0
    assert 'module = "shop"' in output.read_text()
    assert "no/such/place/x.toml: No such file" in run(conf, "-o", "no/such/place/x.toml").stderr


def test_a_file_beside_the_application_can_move_with_it(directory: Path) -> None:
    conf = write(
        "gunicorn.conf.py", "wsgi_app = 'shop'\npidfile = 'run/x.pid'\nbind = 'unix:x.sock'\nerrorlog = '/log'\n"
    )
    assert run(conf, "-o", "miniwsgi.toml").exit_code == 0
    text = Path("miniwsgi.toml").read_text()
    assert 'directory = "."' in text
    assert 'pid_file = "run/x.pid"' in text
    assert 'bind = ["unix:x.sock"]' in text
    assert 'file = "/log"' in text


def test_a_file_elsewhere_starts_in_its_own_directory(directory: Path) -> None:
    (directory / "shop").mkdir()
    (directory / "home").mkdir()
    (directory / "shop" / "gunicorn.conf.py").write_text("")
    os.chdir("home")
    assert f'directory = "{directory}/shop"' in run("../shop/gunicorn.conf.py").stdout
    assert f'directory = "{directory}/home"' in run("../shop/gunicorn.conf.py", "--chdir", ".").stdout


# --- how it ends --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.py"], "nothing.py: there is no such file"),
        (["folder.py"], "folder.py: it is a directory"),
        (["what.txt"], "what.txt: what is it?"),
        (["what.txt", "--from", "nonsense"], "--from nonsense: expected one of gunicorn"),
        ([], "one thing to import"),
        (["a.py", "--", "gunicorn"], "one thing to import"),
        (["--", "uvicorn", "shop:app"], "uvicorn is not imported: it serves ASGI"),
        (["--", "ls"], "is run by: ls"),
        (["--nonsense"], "No such option"),
        (["conf.py", "--chdir", "nowhere"], "--chdir nowhere: there is no such directory"),
        (["conf.py", "--select", "web"], "--select web is for a Procfile"),
        (["conf.py", "--python", "/no/python"], "/no/python cannot be executed"),
        (["Procfile", "--select", "worker"], "has no process 'worker': it has web"),
    ],
)
def test_a_mistake_says_what_to_do(directory: Path, arguments: list[str], said: str) -> None:
    (directory / "folder.py").mkdir()
    write("what.txt", "?")
    write("conf.py", "")
    write("Procfile", "web: gunicorn shop\n")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())


def test_the_command_runs_as_a_process(directory: Path) -> None:
    """With an interpreter that has nothing of ours, and its output in order."""
    write("gunicorn.conf.py", "import sys\nprint('x')\nworkers = 3\nwsgi_app = 'shop'\n")
    done = subprocess.run(
        [sys.executable, "-m", "miniwsgi.daemon", "import", "--python", "python3", "gunicorn.conf.py"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "workers = 3\n" in done.stdout
    assert done.stderr == "miniwsgi: MW1203 gunicorn.conf.py printed: x\n"


def test_help_has_examples() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "miniwsgi import -- gunicorn -w 4" in result.stdout


# --- flags of other servers ---------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["serve", "check", "config"])
def test_a_flag_of_gunicorns_says_what_it_is_here(command: str) -> None:
    result = CliRunner().invoke(commands.commands, [command, "shop", "--timeout", "30"], prog_name="miniwsgi")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "No such option: --timeout: that is gunicorn's; here: timeouts.request (--set timeouts.request=…)" in said


@pytest.mark.parametrize("key", ["errorlog", "server.errorlog", "log.errorlog"])
def test_a_setting_of_gunicorns_as_a_key_says_what_it_is_here(key: str) -> None:
    result = CliRunner().invoke(commands.commands, ["config", "shop", "--set", f"{key}=x"], prog_name="miniwsgi")
    assert result.exit_code == 2
    assert "that is gunicorn's; here: log.file" in result.output


def test_an_option_that_nobody_has_is_refused_as_ever() -> None:
    result = CliRunner().invoke(commands.commands, ["serve", "shop", "--worker", "3"], prog_name="miniwsgi")
    assert "--workers" in result.output
    assert "gunicorn" not in result.output


# --- the file -----------------------------------------------------------------------------------------
def test_nothing_that_is_imported_can_end_a_comment_or_a_text(directory: Path) -> None:
    evil = 'x"\n[server]\nworkers = 9\r\x00\x7f#'
    draft = Draft("gunicorn", f"a{evil}b", Place("/"))
    draft.set("app.module", "shop", Given(f"n{evil}", 0, was=f"w{evil}"), f"note{evil}")
    name, value = (f"{letter}{evil}".replace("\0", "") for letter in "nv")
    draft.variable(name.replace("=", ""), value)
    draft.remark(Heading.TODO, f"r{evil}", f"t{evil}")
    draft.differ(f"d{evil}", evil)
    config = load(None, {}, {}, commented_toml.written(draft, "1"), directory="/")
    assert config.app.module == "shop"
    assert config.origins["server.workers"] == "default"
    assert dict(config.app.env) == {name.replace("=", ""): value}


def test_shells_complete_it() -> None:
    context = click.Context(commands.commands, info_name="miniwsgi")
    assert "import" in commands.commands.list_commands(context)


@pytest.mark.parametrize("words", [["--preload"], ["--preload", "-w", "2"], ["-w", "2", "--preload"]])
def test_preload_as_gunicorn_has_it_leads_to_ours(words: list[str]) -> None:
    result = CliRunner().invoke(commands.commands, ["serve", "shop:app", *words])
    assert result.exit_code == 2
    assert "--preload: expected auto, true or false after it: that is gunicorn's" in " ".join(result.output.split())
