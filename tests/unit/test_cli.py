"""The `miniwsgi` command: what is typed becomes a configuration, and how it ends becomes an exit status."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from miniwsgi.codes import Code
from miniwsgi.daemon import __version__, cli
from miniwsgi.daemon.cli import commands, flags, reading, terminal
from miniwsgi.daemon.config.binds import Bind
from miniwsgi.daemon.config.endpoints import Endpoint
from miniwsgi.daemon.config.keys import KEYS

from tests.support import certificates as made

from .cli_world import Master, master, run

PARENT = str(Path(cli.__file__).parents[2])


__all__ = ["master"]


# --- serve -------------------------------------------------------------------------------------------
def test_serve_hands_the_configuration_to_the_master(master: Master) -> None:
    result = run("serve", "shop:app", "--bind", ":1", "-b", "unix:/x", "-w", "3", "--threads", "2")
    assert (result.exit_code, result.output) == (0, "")
    assert master.config is not None
    assert master.config.app.module == "shop:app"
    assert [bind.address for bind in master.config.server.bind] == [":1", "unix:/x"]
    assert (master.config.server.workers, master.config.server.threads) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        ("--pool prefork", "server.pool", "prefork"),
        ("--preload false", "app.preload", "false"),
        ("--chdir /", "app.directory", "/"),
        ("--python /bin/sh", "app.python", "/bin/sh"),
        ("--env A=1 -e B=x=y", "app.env", {"A": "1", "B": "x=y"}),
        ("--control /run/x.sock", "control.socket", "/run/x.sock"),
        ("--control off", "control.socket", ""),
        ("--metrics-bind :1", "metrics.bind", Endpoint(address=":1")),
        ("--access-log -", "log.access_log", "-"),
        ("--access-log off", "log.access_log", ""),
        ("--log-level debug", "log.level", "debug"),
        ("--log-format json", "log.format", "json"),
        ("--pid-file /run/x.pid", "server.pid_file", "/run/x.pid"),
        ("--user root", "server.user", "root"),
        ("--group root", "server.group", "root"),
        ("--umask 0027", "server.umask", 0o27),
        ("--reload-on-change", "server.reload_on_change", True),
        ("--set timeouts.request=30s", "timeouts.request", 30.0),
        ("--set server.bind=:1,:2", "server.bind", (Bind(address=":1"), Bind(address=":2"))),
        ("--set app.env=A=1", "app.env", {"A": "1"}),
        ("--set server.workers=7 --workers 5", "server.workers", 5),
    ],
)
def test_every_flag_reaches_its_key(master: Master, arguments: str, key: str, value: object) -> None:
    result = run("serve", "shop:app", *arguments.split())
    assert result.exit_code == 0, result.output
    assert master.config is not None
    assert master.config[key] == value
    assert master.config.origins[key] == "flag"


def test_every_key_with_a_flag_has_an_option() -> None:
    offered = {path for _, rows in flags.GROUPS for path, _, _ in rows}
    assert offered == {path for path, key in KEYS.items() if key.flag.startswith("--")}


def test_factory_says_what_the_argument_is(master: Master) -> None:
    assert run("serve", "--factory", "shop:create_app").exit_code == 0
    assert master.config is not None
    assert (master.config.app.factory, master.config.app.module) == ("shop:create_app", "")
    result = run("serve", "--factory", "-c", "x.toml")
    assert result.exit_code == 2
    assert "--factory tells what MODULE:CALLABLE is, and that is missing" in result.output


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_masters_status_is_the_exit_status(master: Master, status: int) -> None:
    master.status = status
    assert run("serve", "shop").exit_code == status


def test_reload_reads_the_file_again_and_keeps_the_flags(
    master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.toml"
    file.write_text("[server]\nthreads = 1\nbacklog = 1\n")
    run("serve", "shop", "-c", "x.toml", "--threads", "3")
    file.write_text("[server]\nthreads = 2\nbacklog = 2\n")
    monkeypatch.chdir(tmp_path / "other")
    assert master.reload is not None
    again = master.reload()
    assert (again.server.threads, again.server.backlog) == (3, 2)
    assert (again.path, again.app.directory) == (str(file), str(tmp_path))


def test_the_default_file_is_read_only_when_nothing_else_names_an_application(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Path(reading.DEFAULT_PATH)
    default.write_text("[app]\nmodule = 'default'\n[server]\nbacklog = 7\n")
    for arguments, environ, module, path in (
        ((), {}, "default", str(default)),
        (("shop",), {}, "shop", ""),
        (("--set", "app.module=shop"), {}, "shop", ""),
        ((), {"MINIWSGI_APP_MODULE": "shop"}, "shop", ""),
        (("shop",), {"MINIWSGI_CONFIG": str(default)}, "shop", str(default)),
    ):
        with monkeypatch.context() as patched:
            for name, value in environ.items():
                patched.setenv(name, value)
            assert run("serve", *arguments).exit_code == 0
        assert master.config is not None
        assert (master.config.app.module, master.config.path) == (module, path)


@pytest.mark.parametrize("command", ["serve", "check", "config"])
def test_nothing_to_serve_is_told_with_what_to_type(master: Master, command: str) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert f"Usage: miniwsgi {command}" in result.output
    assert "nothing to serve: name an application, as in" in result.output
    assert f"miniwsgi {command} shop.wsgi:application" in result.output
    assert f"and there is no {reading.DEFAULT_PATH})" in result.output
    assert master.config is None


@pytest.mark.parametrize("command", ["serve", "check", "config"])
def test_all_mistakes_are_told_and_nothing_is_started(master: Master, command: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[server]\nworker = 3\nthreads = 'x'\n")
    result = run(command, "shop", "-c", str(file), "--workers", "0", "--set", "nope=1", "--env", "A")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "miniwsgi: 5 mistakes in the configuration",
        f"  MW1002 unknown key server.worker: did you mean server.workers? ({file})",
        f'  MW1004 server.threads = "x": expected a whole number from 1 to 256 ({file})',
        "  MW1002 unknown key nope (command line)",
        "  MW1004 app.env: expected NAME=VALUE; 'A' has no '=' (--env)",
        "  MW1004 server.workers = 0: expected a whole number from 1 to 200 (--workers)",
    ]
    assert master.config is None
    assert master.checked == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "it is a directory; give the path of a file"),
        (lambda path: path.write_bytes(b"# \xff"), ":1:3: not UTF-8: byte 0xff"),
        (lambda path: path.write_text("x"), ":1:2: not valid TOML: Expected '=' after a key"),
    ],
)
def test_a_file_that_cannot_be_used(master: Master, tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "x.toml")
    result = run("serve", "-c", str(tmp_path / "x.toml"))
    assert result.exit_code == 2
    assert result.stderr.startswith("miniwsgi: 1 mistake in the configuration\n")
    assert said in result.stderr


def test_set_needs_a_value(master: Master) -> None:
    result = run("serve", "shop", "--set", "server.workers")
    assert result.exit_code == 2
    assert "--set server.workers: expected KEY=VALUE" in result.output


def test_notes_are_told(master: Master) -> None:
    unused = ("shop", "--pool", "prefork", "--threads", "9")
    result = run("check", *unused)
    assert result.exit_code == 0
    assert result.stderr == "miniwsgi: MW1101 server.threads (--threads) is not used by pool prefork\n"
    assert run("serve", *unused).stderr == ""  # the master's log has it


def test_reload_on_change_needs_watchfiles(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("serve", "shop", "--reload-on-change").exit_code == 0
    master.config = None
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    result = run("serve", "shop", "--reload-on-change")
    assert result.exit_code == 2
    assert "needs the package watchfiles: pip install 'miniwsgi[dev]'" in result.stderr
    assert master.config is None


# --- the others --------------------------------------------------------------------------------------
def test_check_says_what_it_checked(master: Master, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1")
    file = tmp_path / "x.toml"
    file.write_text("[app]\nmodule = 'shop:app'\nenv_files = 'env'\n")
    result = run("check", "-c", str(file))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"configuration:    {file}: valid",
        f"environment file: {tmp_path}/env: read",
        f"application:      shop:app: imported from {master.checked[0].app.directory}",
    ]
    assert master.config is None  # nothing is served


def test_check_looks_at_certificates(master: Master, tmp_path: Path) -> None:
    made.write(tmp_path, made.issued("shop.example"))
    old = made.issued("old.example", from_days=-9, to_days=-2)
    (tmp_path / "old.pem").write_bytes(made.combined(old))
    file = tmp_path / "x.toml"
    good = "{ address = ':1', certificate = 'shop.pem', key = 'shop.key' }"

    def check(*entries: str) -> Result:
        file.write_text(f"[app]\nmodule = 'shop:app'\n[server]\nbind = [{', '.join(entries)}]\n")
        return run("check", "-c", str(file))

    result = check(good, good.replace(":1", ":2"), "{ address = ':3', certificate = 'credential:x' }")
    assert result.exit_code == 0
    assert re.sub("until .*", "until", result.stdout).splitlines()[:2] == [
        f"certificate:      {tmp_path}/shop.pem: for shop.example, until",
        "certificate:      credential:x: not looked at: only the unit has $CREDENTIALS_DIRECTORY",
    ]
    result = check("{ address = ':1', certificate = 'old.pem' }")
    assert result.exit_code == 2
    assert f"certificate:      {tmp_path}/old.pem: it expired on" in result.stdout
    assert len(master.checked) == 1
    swapped = "{ address = ':1', certificate = 'old.pem', key = 'shop.key' }"
    result = check(swapped, "{ address = ':2', certificate = 'no' }")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"miniwsgi: MW7201 key {tmp_path}/shop.key: it is not the key of certificate {tmp_path}/old.pem",
        f"miniwsgi: MW7201 certificate {tmp_path}/no: there is no such file",
    ]


def test_check_tells_why_the_application_does_not_boot(master: Master) -> None:
    master.failure = SimpleNamespace(
        code=Code.IMPORT_RAISED, error="cannot import shop", traceback="Traceback …\n  shop.py"
    )
    result = run("check", "shop:app")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1] == "application:      shop:app: did not boot"
    assert result.stderr == "Traceback …\n  shop.py\nminiwsgi: MW2302 cannot import shop\n"


def test_config_prints_toml_with_origins_and_without_secrets(master: Master) -> None:
    result = run("config", "shop", "-w", "3", "-e", "API_TOKEN=hunter2")
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["server"]["workers"] == 3
    assert "hunter2" not in result.output
    assert any(line.endswith("# flag --workers") for line in result.stdout.splitlines())


def test_config_prints_json(master: Master) -> None:
    data = json.loads(run("config", "shop", "-w", "3", "--json").stdout)
    assert data["values"]["server"]["workers"] == 3
    assert data["origins"]["server.workers"] == "flag"


def test_config_prints_the_reference_without_an_application(master: Master) -> None:
    result = run("config", "--reference")
    assert result.exit_code == 0
    assert result.stdout.startswith("# Configuration\n")


def test_version(master: Master) -> None:
    assert run("--version").stdout == f"miniwsgi {__version__}\n"
    assert run("version").stdout.startswith(f"miniwsgi {__version__} (CPython 3.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop:app"], "No such command 'shop:app'. To serve it: miniwsgi serve shop:app"),
        (["shop.wsgi"], "To serve it: miniwsgi serve shop.wsgi"),
        (["run", "./shop.py"], "No such command 'run'. To serve it: miniwsgi serve ./shop.py"),
        (["serv"], "No such command 'serv'"),
        (["serve", "--worker", "3"], "--workers"),
        (["serve", "a", "b"], "unexpected extra argument"),
        (["serve", "shop", "--bind"], "requires an argument"),
    ],
)
def test_wrong_usage_is_told(master: Master, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output


# --- help --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["", "serve", "check", "config", "version"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_eighty_columns(command: str, flag: str) -> None:
    result = CliRunner().invoke(commands.commands, [*command.split(), flag], prog_name="miniwsgi", terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "Other:\n  [MODULE" not in result.output


def test_help_teaches_the_command() -> None:
    text = CliRunner().invoke(commands.commands, ["serve", "-h"], prog_name="miniwsgi").output
    for needed in (
        "\nApplication:\n",
        "\nServing:\n",
        "\nLogs:\n",
        "Examples:",
        "miniwsgi serve --factory",
        "Signals to the master:",
        "  3  the application did not boot",
        "[default: 127.0.0.1:8000]",
        "[default: the CPUs this process",
    ):
        assert needed in text
    main = CliRunner().invoke(commands.commands, ["-h"], prog_name="miniwsgi").output
    assert "_MINIWSGI_COMPLETE=bash_source" in main
    assert main.index("  serve ") < main.index("  check ")
    assert "..." not in main.partition("Commands:")[2]  # no summary is cut


@pytest.mark.parametrize("command", ["serve", "check", "config"])
def test_every_example_in_the_help_can_be_parsed(command: str) -> None:
    epilog = commands.commands.commands[command].epilog or ""
    examples = [shlex.split(line)[1:] for line in epilog.splitlines() if line.startswith("  miniwsgi ")]
    assert examples
    for example in examples:
        assert example[0] == command
        commands.commands.commands[command].make_context(command, example[1:], resilient_parsing=False)


# --- as a process ------------------------------------------------------------------------------------
def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MINIWSGI_")}
    return subprocess.run(
        [sys.executable, "-m", "miniwsgi.daemon", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "PYTHONPATH": PARENT, **environ},
        cwd="/",
    )


def test_the_command_runs_as_a_module() -> None:
    assert command("--version").stdout == f"miniwsgi {__version__}\n"
    failed = command("serve", "shop", "--workers", "x")
    assert failed.returncode == 2
    assert failed.stderr == (
        "miniwsgi: 1 mistake in the configuration\n"
        '  MW1004 server.workers = "x": expected a whole number from 1 to 200 (--workers)\n'
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("miniwsgi se", "serve"),
        ("miniwsgi serve --wor", "--workers"),
        ("miniwsgi serve --pool pre", "prefork"),
        ("miniwsgi serve --set timeouts.re", "timeouts.request="),
        ("miniwsgi serve --chdir ", "file"),
    ],
)
def test_the_shell_completes(typed: str, offered: str) -> None:
    words = typed.split()
    script = "from miniwsgi.daemon.cli.commands import commands; commands.main(prog_name='miniwsgi')"
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": PARENT,
            "_MINIWSGI_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) if typed.endswith(" ") else len(words) - 1),
        },
    )
    assert offered in [part for line in found.stdout.splitlines() for part in line.split(",")]


def test_errors_are_coloured_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert terminal.styled("x", fg="red") == "x"
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert terminal.styled("x", fg="red") == click.style("x", fg="red")
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.styled("x", fg="red") == "x"


def test_what_a_command_does_not_need_is_not_imported() -> None:
    script = (
        "import sys\nfrom miniwsgi.daemon.cli import commands\n"
        "print([name for name in ('rich', 'prometheus_client', 'psutil', 'msgspec', 'asyncio') "
        "if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PARENT},
    )
    assert run.stdout == "[]\n", run.stderr
