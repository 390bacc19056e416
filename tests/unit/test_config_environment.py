"""Environment files are read as people expect, and the application sees what it should."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.daemon.config import ConfigError, application_environment, load
from miniwsgi.daemon.config.environment import MASK, masked, parse_environment


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n\n  \n", {}),
        ("# comment\nA=1", {"A": "1"}),
        ("  # indented comment\nA=1\n", {"A": "1"}),
        ("A=1\nB=2\nA=3\n", {"A": "3", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A = spaced value  ", {"A": "spaced value"}),
        ("export A=1\n\texport\tB=2", {"A": "1", "B": "2"}),
        ("A=value # comment", {"A": "value"}),
        ("A=# comment", {"A": ""}),
        ("A=not#a comment", {"A": "not#a comment"}),
        ("A='single # $x \\n' # comment", {"A": "single # $x \\n"}),
        ('A="double # $x" # comment', {"A": "double # $x"}),
        (r'A="\n\t\"\\\$"', {"A": '\n\t"\\$'}),
        ('A="line one\nline two"\nB=2', {"A": "line one\nline two", "B": "2"}),
        ("A='line one\n\nline three'", {"A": "line one\n\nline three"}),
        ('A="continued \\\nline"', {"A": "continued line"}),
        ("A=it's", {"A": "it's"}),
        ("A=postgres://u:p@h/d?x=1&y=2", {"A": "postgres://u:p@h/d?x=1&y=2"}),
        ("A=ü€\nB='ü'", {"A": "ü€", "B": "ü"}),
        ("A=$HOME", {"A": "$HOME"}),
        ("_a1=x", {"_a1": "x"}),
        ("exported=1", {"exported": "1"}),
        ("export=1", {"export": "1"}),
    ],
)
def test_reads(text: str, variables: dict[str, str]) -> None:
    assert parse_environment(text) == (variables, [])


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("A=1\nnonsense\nB=2", 2, "NAME=value"),
        ("1A=x", 1, "NAME=value, the name of letters, digits and _"),
        ("A-B=x", 1, "NAME=value, the name of letters, digits and _"),
        ("\n\nA='open\n", 3, "a closing quote, and nothing after it"),
        ('A="x"y', 1, "a closing quote, and nothing after it"),
        ("A=nul\0", 1, "text without NUL"),
        ("=x", 1, "NAME=value, the name of letters, digits and _"),
    ],
)
def test_says_where_it_is_wrong(text: str, line: int, expected: str) -> None:
    variables, mistakes = parse_environment(text)
    assert mistakes[0] == (line, expected)
    assert variables.get("B") == ("2" if "B=2" in text else None)  # it goes on with the next line


DAEMON = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "JOURNAL_STREAM": "8:1",
    "LISTEN_ADDRESS": "the application's own",
    "VIRTUAL_ENV": "/opt/miniwsgi",
    "PYTHONPATH": "/opt",
    "PYTHONUNBUFFERED": "1",
    "NOTIFY_SOCKET": "/run/systemd/notify",
    "WATCHDOG_USEC": "1",
    "WATCHDOG_PID": "1",
    "LISTEN_FDS": "1",
    "LISTEN_PID": "1",
    "LISTEN_FDNAMES": "http",
}


def test_the_application_sees_the_environment_without_what_is_the_daemons(tmp_path: Path) -> None:
    config = load(None, {"app.module": "shop"}, {}, directory=str(tmp_path))
    assert application_environment(config, DAEMON) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "JOURNAL_STREAM": "8:1",
        "LISTEN_ADDRESS": "the application's own",
        "PYTHONPATH": "/opt",
        "PYTHONUNBUFFERED": "1",
    }


def environment(directory: Path) -> Path:
    """The interpreter of a virtual environment (PEP 405), as far as a path goes."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (directory / "pyvenv.cfg").write_text("home = /usr/bin\n")
    return python


def test_what_is_meant_for_the_daemons_interpreter_does_not_come_to_that_of_another_environment(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    flags = {"app.module": "shop", "app.python": str(python), "app.env": {"PYTHONHASHSEED": "7"}}
    config = load(None, flags, {**DAEMON, "PYTHONHASHSEED": "0"})
    found = application_environment(config, DAEMON)
    assert {name: value for name, value in found.items() if name.startswith("PYTHON")} == {"PYTHONHASHSEED": "7"}
    (note,) = config.notes
    assert note.text.startswith(
        f"not passed on to the application: PYTHONPATH, PYTHONUNBUFFERED; app.python ({python})"
    )
    quiet = {name: value for name, value in DAEMON.items() if not name.startswith("PYTHON")}
    assert load(None, flags, quiet).notes == ()


@pytest.mark.parametrize("name", ["current/bin/python", "release/bin/python3", "release/bin/python"])
def test_an_environment_is_one_whatever_names_and_links_lead_to_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    python = environment(tmp_path / "release")
    python.with_name("python3").symlink_to("python")
    (tmp_path / "current").symlink_to("release")
    monkeypatch.setattr(sys, "executable", str(python))
    config = load(None, {"app.module": "shop", "app.python": str(tmp_path / name)}, DAEMON)
    assert (config.dropped, config.notes) == ((), ())


def test_an_agent_that_took_itself_out_of_the_path_starts_in_the_application_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from os import environ as e\ne['PYTHONPATH'] = '/elsewhere'\ndel e['PYTHONHASHSEED']\ne['NEW'] = '1'\n"
    )
    script = (
        "from miniwsgi.daemon.config import daemons_environment as environment\n"
        "found = environment()\n"
        "print(found['PYTHONPATH'], found['PYTHONHASHSEED'], found['NEW'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(tmp_path), "0", "1"], done.stderr


def test_env_wins_over_env_files_and_later_files_over_earlier(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("PATH=one\nA=one\nB=one\nPYTHONPATH=lib\n")
    (tmp_path / "two").write_text("A=two\nB=two\n")
    (tmp_path / "x.toml").write_text(
        '[app]\nmodule = "shop"\nenv_files = ["one", "two"]\nenv = { B = "env", C = "env" }\n'
    )
    config = load(str(tmp_path / "x.toml"), {"app.env": ("C=flag",)}, {})
    found = application_environment(config, DAEMON)
    assert {name: found[name] for name in ("PATH", "A", "B", "C", "PYTHONPATH")} == {
        "PATH": "one",
        "A": "two",
        "B": "env",
        "C": "flag",
        "PYTHONPATH": "lib",
    }
    assert config.origins["app.env"] == "flag"


def test_env_files_are_read_at_each_load(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("VERSION=1")
    flags = {"app.module": "shop", "app.env_files": str(file)}
    first = load(None, flags, {})
    file.write_text("VERSION=2")
    second = load(None, flags, {})
    assert (first.file_variables["VERSION"], second.file_variables["VERSION"]) == ("1", "2")


def test_mistakes_in_env_files_do_not_show_their_content(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("GOOD=1\nhunter2 PASSWORD=hunter2\nX='hunter2\n")
    with pytest.raises(ConfigError) as caught:
        load(None, {"app.module": "shop", "app.env_files": str(file)}, {})
    assert "hunter2" not in str(caught.value)
    assert f"({file}, line 2)" in str(caught.value)
    assert f"({file}, line 3)" in str(caught.value)


def test_an_env_file_that_is_not_utf8_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        load(None, {"app.module": "shop", "app.env_files": str(file)}, {})


def test_the_user_changes_home(tmp_path: Path) -> None:
    root = pwd.getpwuid(0)
    environ = {"HOME": "/home/x", "USER": "x", "LOGNAME": "x", "PWD": "/"}
    for user in ("root", "0"):
        config = load(None, {"app.module": "shop", "server.user": user}, {}, directory=str(tmp_path))
        found = application_environment(config, environ)
        assert found == {"HOME": root.pw_dir, "USER": "root", "LOGNAME": "root", "PWD": str(tmp_path)}
    config = load(None, {"app.module": "shop", "server.user": "54321"}, {}, directory=str(tmp_path))
    assert "HOME" not in application_environment(config, environ)  # an account without an entry


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SECRET_KEY", "x", MASK),
        ("django_secret", "x", MASK),
        ("DB_PASSWORD", "x", MASK),
        ("DB_PASSWD", "x", MASK),
        ("GITHUB_TOKEN", "x", MASK),
        ("AWS_ACCESS_KEY_ID", "x", MASK),
        ("SENTRY_DSN", "x", MASK),
        ("GOOGLE_APPLICATION_CREDENTIALS", "x", MASK),
        ("SECRET_KEY", "", ""),
        ("DEBUG", "1", "1"),
        ("DATABASE_URL", "postgres://shop:hunter2@db/shop", f"postgres://shop:{MASK}@db/shop"),
        ("DATABASE_URL", "postgres://shop:hun@ter2@db/shop", f"postgres://shop:{MASK}@db/shop"),
        ("REDIS", "redis://:hunter2@cache:6379/0", f"redis://:{MASK}@cache:6379/0"),
        ("HOOK", "https://abcdef0123@hooks.example/x", f"https://{MASK}@hooks.example/x"),
        ("TWO", "a://u:p@h,b://u:p@h", f"a://u:{MASK}@h,b://u:{MASK}@h"),
        ("DATABASE_URL", "postgres://db/shop", "postgres://db/shop"),
        ("URL", "https://example.org/@user", "https://example.org/@user"),
        ("MAIL", "someone@example.org", "someone@example.org"),
    ],
)
def test_secrets_are_masked(name: str, value: str, shown: str) -> None:
    assert masked(name, value) == shown
