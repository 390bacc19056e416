"""A gunicorn.conf.py becomes a draft: what it sets, out of what; and what is said of one that cannot be read."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from miniwsgi.daemon.config import load
from miniwsgi.daemon.migration import commands, sources
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.draft import Draft, Heading
from miniwsgi.daemon.migration.gunicorn import command, conf_file
from miniwsgi.daemon.migration.setting import Given
from miniwsgi.daemon.migration.trouble import ImportTrouble

from tests.support.waiting import wait_for


class Conf:
    """A gunicorn.conf.py in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "gunicorn.conf.py"
        self.environ: dict[str, str] = {}

    def asked(self, seconds: float = 20.0) -> Asked:
        return Asked(str(self.directory), "", self.environ, seconds)

    def given(self, source: str) -> dict[str, Given]:
        self.path.write_text(dedent(source))
        executed = conf_file.execute(str(self.path), sys.executable, str(self.directory), os.environ)
        return {one.name: one for one in executed.given}

    def draft(self, source: str) -> Draft:
        self.path.write_text(dedent(source))
        draft = sources.import_file(str(self.path), self.asked())
        draft.finish()
        return draft

    def command(self, *words: str, source: str = "") -> Draft:
        if source:
            self.path.write_text(dedent(source))
        draft = commands.from_words(list(words), self.asked())
        draft.finish()
        return draft

    def trouble(self, source: str, seconds: float = 20.0) -> str:
        self.path.write_text(dedent(source))
        with pytest.raises(ImportTrouble) as caught:
            sources.import_file(str(self.path), self.asked(seconds))
        return str(caught.value)


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return Conf(tmp_path)


def values(draft: Draft) -> dict[str, Any]:
    return {key: line.value for key, line in draft.lines.items() if not line.refused}


# --- out of what --------------------------------------------------------------------------------------
def test_what_varies_is_told_with_its_source(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PER_CPU", "3")
    found = conf.given(
        """
        import multiprocessing
        import os
        name = "shop"
        per_cpu = int(os.environ["PER_CPU"])
        def cpus():
            return multiprocessing.cpu_count()
        workers = cpus() * per_cpu
        threads = 2 * 2
        timeout = int(os.getenv("NOT_SET_ANYWHERE", "60"))
        pidfile = f"/run/{name}.pid"
        if per_cpu > 100:
            keepalive = os.getpid()
        else:
            keepalive = 5
        raw_env = ["A=1", "B=" + os.environ["PER_CPU"]]
        raw_env.append("C=3")
        if per_cpu < 100:
            backlog = 100
        else:
            backlog = os.getpid()
        """
    )
    assert found["workers"].value == (os.cpu_count() or 1) * 3
    assert found["workers"].was == "cpus() * per_cpu, from $PER_CPU and the CPUs"
    assert found["workers"].where == "line 8"
    assert (found["threads"].value, found["threads"].was) == (4, "")
    assert (found["timeout"].value, found["timeout"].was) == (60, "int(os.getenv('NOT_SET_ANYWHERE', '60'))")
    assert (found["pidfile"].value, found["pidfile"].was) == ("/run/shop.pid", "")
    keepalive = found["keepalive"]
    assert (keepalive.value, keepalive.was, keepalive.where) == (5, "5, from $PER_CPU", "line 15")
    assert found["raw_env"].value == ["A=1", "B=3", "C=3"]
    assert (found["backlog"].was, found["backlog"].where) == ("100, from $PER_CPU", "line 19")


TLS = "bind = [':443', '127.0.0.1:8443']\ncertfile = 'c.pem'\nkeyfile = '/k.pem'\n"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (TLS, {}),
        (TLS + "ciphers = 'ECDHE+AESGCM'", {"ciphers": "ECDHE+AESGCM"}),
        (
            TLS + "import ssl\ncert_reqs = ssl.CERT_REQUIRED\nca_certs = '/ca'",
            {"client_ca": "/ca", "client": "required"},
        ),
        (TLS + "cert_reqs = 1\nca_certs = '/ca'", {"client_ca": "/ca", "client": "optional"}),
        (TLS + "ca_certs = '/ca'", {}),
    ],
)
def test_certificates_are_those_of_each_address(conf: Conf, source: str, options: dict[str, str]) -> None:
    files = {"certificate": f"{conf.directory}/c.pem", "key": "/k.pem"}
    draft = conf.draft(source)
    assert values(draft)["server.bind"] == [
        {"address": address, **files, **options} for address in (":443", "127.0.0.1:8443")
    ]
    draft.relative_to(str(conf.directory / "miniwsgi.toml"))
    assert draft.lines["server.bind"].value[0]["certificate"] == "c.pem"
    assert load(None, {"app.module": "x", "server.bind": draft.lines["server.bind"].value}, {}).server.bind[1].secure


def test_certificates_without_an_address_and_without_authorities(conf: Conf) -> None:
    draft = conf.draft("certfile = '/c.pem'\ncert_reqs = 2\n")
    assert values(draft)["server.bind"] == [{"address": "127.0.0.1:8000", "certificate": "/c.pem"}]
    assert any("ca_certs is not set" in warning for warning in draft.warnings)


def test_a_list_is_looked_at_item_by_item_and_a_computed_secret_is_not_written(
    conf: Conf,
) -> None:
    conf.environ["THE_SECRET_KEY"] = "hidden"
    draft = conf.draft(
        """
        import os
        wsgi_app = "shop:app"
        raw_env = ["MODE=live", "SECRET_KEY=" + os.environ["THE_SECRET_KEY"], "REGION=" + os.environ.get("R", "eu")]
        """
    )
    assert {name: (line.value, line.was) for name, line in draft.env.items()} == {
        "MODE": ("live", ""),
        "REGION": ("eu", "'REGION=' + os.environ.get('R', 'eu')"),
    }
    assert any("SECRET_KEY is not written" in warning for warning in draft.warnings)


def test_what_it_imports_and_extends_counts(conf: Conf) -> None:
    (conf.directory / "base_conf.py").write_text("workers = 3\ntimeout = 20\n")
    found = conf.given("from base_conf import *\ntimeout = timeout + 1\n")
    assert (found["workers"].value, found["workers"].where) == (3, "imported by gunicorn.conf.py")
    assert found["timeout"].value == 21


def test_it_is_executed_where_gunicorn_would_be_and_its_output_is_not_ours(
    conf: Conf, capfd: pytest.CaptureFixture[str]
) -> None:
    draft = conf.draft(
        """
        import os, sys
        print("to stdout")
        print("to stderr", file=sys.stderr)
        chdir = os.getcwd()
        wsgi_app = __name__.strip("_") + ":app"
        pidfile = "run/shop.pid"
        """
    )
    assert capfd.readouterr() == ("", "")
    assert values(draft)["app.module"] == "config:app"
    assert values(draft)["app.directory"] == str(conf.directory)
    assert values(draft)["server.pid_file"] == f"{conf.directory}/run/shop.pid"
    assert any("to stdout" in warning and "to stderr" in warning for warning in draft.warnings)


# --- what cannot be read ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("workers = 1\nbind = = 2\n", "gunicorn.conf.py, line 2: SyntaxError: invalid syntax"),
        ("workers = 1\n\nx = 1 / 0\n", "gunicorn.conf.py, line 3: ZeroDivisionError: division by zero"),
        ("def f():\n    return {}['PORT']\nbind = f()\n", "line 2: KeyError: 'PORT'\nIf that is a variable"),
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("import sys\nsys.exit('not here')\n", "line 2: SystemExit: not here"),
        ("import json\njson.loads('{')\n", "line 2: JSONDecodeError: "),
        ("import os\nos._exit(7)\n", "ended the process that executed it (exit status 7)"),
    ],
)
def test_what_is_wrong_in_it_is_told_with_its_line(conf: Conf, source: str, said: str) -> None:
    assert said in conf.trouble(source)


def test_an_exception_elsewhere_is_told_with_both_places(conf: Conf) -> None:
    assert "line 2: JSONDecodeError" in (said := conf.trouble("import json\njson.loads('{')\n"))
    assert "decoder.py, line" in said


def test_a_module_that_is_missing_calls_for_the_applications_interpreter(conf: Conf) -> None:
    assert "name the application's interpreter with --python" in conf.trouble("import nothing_of_that_name\n")


def test_one_that_does_not_end_is_stopped_with_its_children(conf: Conf) -> None:
    begin = time.monotonic()
    said = conf.trouble("import os, time\nif os.fork() == 0: pass\nwhile True: time.sleep(1)\n", seconds=0.5)
    assert said == "gunicorn.conf.py has not ended after 0.5 s: it was stopped"
    assert time.monotonic() - begin < 10


def test_one_that_prints_without_end_fills_no_memory(conf: Conf) -> None:
    assert "has not ended" in conf.trouble("while True: print('x' * 10000)\n", seconds=0.5)


CHILD = "pid = os.fork()\nif pid == 0:\n    time.sleep(60)\n    os._exit(0)\nopen('child', 'w').write(str(pid))\n"
DAEMON = f"if os.fork() == 0:\n    os.setsid()\n    {CHILD.replace(chr(10), chr(10) + '    ')}os._exit(0)\nos.wait()\n"


@pytest.mark.parametrize("child", [CHILD, DAEMON], ids=["a child", "a daemon"])
@pytest.mark.parametrize("end", ["workers = 2", "while True: time.sleep(1)"])
def test_a_process_that_it_leaves_behind_is_neither_waited_for_nor_left(conf: Conf, end: str, child: str) -> None:
    begin = time.monotonic()
    conf.path.write_text(f"import os, time\n{child}{end}\n")
    with contextlib.suppress(ImportTrouble):
        conf_file.execute(str(conf.path), sys.executable, str(conf.directory), {}, 1.5)
    assert time.monotonic() - begin < 20
    pid = int((conf.directory / "child").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "the child has gone", 10)


def test_the_interpreter_beside_gunicorn_is_the_applications(conf: Conf) -> None:
    programs = conf.directory / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    conf.path.write_text("import sys\npidfile = sys.executable\n")
    assert "app.python" not in conf.command("venv/bin/gunicorn", "shop").lines
    (programs.parent / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for words in (["venv/bin/gunicorn", "shop"], ["venv/bin/python", "-m", "gunicorn", "shop"]):
        draft = conf.command(*words)
        assert draft.lines["app.python"].value == f"{programs}/python"
        assert draft.lines["server.pid_file"].value == f"{programs}/python"


def test_an_interpreter_that_is_none_is_told(conf: Conf) -> None:
    conf.path.write_text("workers = 1\n")
    with pytest.raises(ImportTrouble, match="/no/python cannot be executed: No such file"):
        conf_file.execute(str(conf.path), "/no/python", str(conf.directory), {})


def test_a_slip_of_the_pen_that_gunicorn_ignores_is_told(conf: Conf) -> None:
    draft = conf.draft("worker = 4\nkeep_alive = 5\nmax_request = 3\nn = 2\nworkers = n\ntimeouts = 1\nx = timeouts\n")
    said = [warning for warning in draft.warnings if "is no setting" in warning]
    assert said == [
        "gunicorn.conf.py, line 1: worker is no setting of gunicorn's: was workers meant?",
        "gunicorn.conf.py, line 2: keep_alive is no setting of gunicorn's: was keepalive meant?",
        "gunicorn.conf.py, line 3: max_request is no setting of gunicorn's: was max_requests meant?",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("preload", "preload_app"), ("log_file", "errorlog"), ("access_logfile", "accesslog"), ("logfile", "errorlog")],
)
def test_a_flag_in_the_file_or_a_name_of_long_ago_is_told(conf: Conf, name: str, meant: str) -> None:
    assert f"{name} is no setting of gunicorn's: was {meant} meant?" in conf.draft(f"{name} = 1").warnings[0]


# --- what it becomes ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        ("workers = 4", "server.workers", 4),
        ("bind = '0.0.0.0:80'", "server.bind", ["0.0.0.0:80"]),
        ("bind = ['127.0.0.1:1', 'unix:/run/x.sock', '[::1]:2', 'fd://3']", "server.bind",
         ["127.0.0.1:1", "unix:/run/x.sock", "[::1]:2", "fd:3"]),
        ("bind = ':8000'", "server.bind", [":8000"]),
        ("bind = ':8000'\nproxy_protocol = True", "server.bind", [{"address": ":8000", "proxy_protocol": True}]),
        ("proxy_protocol = 'v2'", "server.bind", [{"address": "127.0.0.1:8000", "proxy_protocol": True}]),
        ("bind = ':8000'\nproxy_protocol = 'off'", "server.bind", [":8000"]),
        ("proxy_protocol = True\nproxy_allow_ips = '10.0.0.1'\nforwarded_allow_ips = '10.0.0.2'", "proxy.trusted",
         ["10.0.0.2", "10.0.0.1"]),
        ("bind = '0.0.0.0'", "server.bind", ["0.0.0.0:8000"]),
        ("bind = 'a.example:1,b.example:2'", "server.bind", ["a.example:1", "b.example:2"]),
        ("", "server.threads", 1),
        ("threads = 5", "server.threads", 5),
        ("worker_class = 'gthread'\nthreads = 3", "server.threads", 3),
        ("worker_class = 'gevent'\nworker_connections = 500", "server.threads", 32),
        ("worker_class = 'gevent'\nworker_connections = 500", "limits.connections", 500),
        ("timeout = 90", "timeouts.request", 90),
        ("timeout = 0", "timeouts.request", "off"),
        ("graceful_timeout = 15", "timeouts.graceful", 15),
        ("keepalive = 0", "timeouts.keep_alive", "off"),
        ("max_requests = 0", "recycle.max_requests", "off"),
        ("umask = 0o027", "server.umask", "0027"),
        ("user = 1000", "server.user", "1000"),
        ("limit_request_line = 0", "limits.request_line", 1 << 20),
        ("limit_request_fields = 32768", "limits.fields", 10_000),
        ("accesslog = None", "log.access_log", "off"),
        ("errorlog = '/var/log/x.log'", "log.file", "/var/log/x.log"),
        ("loglevel = 'CRITICAL'", "log.level", "error"),
        ("preload_app = True", "app.preload", "true"),
        ("wsgi_app = 'shop:make()'", "app.factory", "shop:make"),
        ("forwarded_allow_ips = '10.0.0.0/8'", "proxy.trusted", ["10.0.0.0/8"]),
        ("", "proxy.trusted", ["127.0.0.1", "::1"]),
        ("bind = 'unix:/x'", "proxy.trusted", ["127.0.0.1", "::1", "unix"]),
        ("raw_env = ['SCRIPT_NAME=/shop']", "server.script_name", "/shop"),
        ("http_parser = 'python'", "server.engine", "plain"),
        ("control_socket_disable = True", "control.socket", "off"),
        ("reload = True", "server.reload_on_change", True),
        ("from pathlib import Path\ntmp_upload_dir = Path('/tmp')", "server.spool_directory", "/tmp"),
    ],
)  # fmt: skip
def test_a_setting_becomes_a_key(conf: Conf, source: str, key: str, value: object) -> None:
    assert values(conf.draft(source))[key] == value


def test_hooks_are_named_with_what_to_write_instead(conf: Conf) -> None:
    draft = conf.draft(
        """
        wsgi_app = "shop:app"
        def post_fork(server, worker): pass
        def worker_exit(server, worker): pass
        when_ready = lambda server: None
        def pre_request(worker, req): pass
        """
    )
    remarks = dict(draft.remarks[Heading.HOOKS])
    assert "post_fork (line 3) → worker_start(worker)" in remarks
    assert "worker_exit (line 4) → worker_stop(worker, reason)" in remarks
    assert "when_ready (line 5) → leader_start(worker)" in remarks
    assert "middleware" in remarks["pre_request (line 6)"]


def test_values_that_our_keys_do_not_accept_become_comments(conf: Conf) -> None:
    draft = conf.draft("workers = 100000\nuser = 'nobody-of-that-name'\n")
    assert draft.lines["server.workers"].refused == "expected a whole number from 1 to 200"
    assert draft.lines["server.user"].refused == ""  # it may exist where it is to be served
    assert len([warning for warning in draft.warnings if "server." in warning]) == 2


def test_asgi_is_said_to_have_no_counterpart(conf: Conf) -> None:
    draft = conf.draft("worker_class = 'uvicorn.workers.UvicornWorker'\nworkers = 2\n")
    assert any("ASGI" in warning for warning in draft.warnings)


def test_websockets_of_green_workers_are_told_where_they_are(conf: Conf) -> None:
    draft = conf.draft("worker_class = 'eventlet'\nworkers = 1\n")
    assert "WebSockets" in dict(draft.remarks[Heading.TODO])["worker_class"]


def test_classes_and_dictionaries_are_told_not_copied(conf: Conf) -> None:
    draft = conf.draft(
        """
        class Quiet: pass
        logger_class = Quiet
        logconfig_dict = {"version": 1}
        """
    )
    assert {name for name, _ in draft.remarks[Heading.LEFT_OUT]} == {"logger_class", "logconfig_dict"}


# --- the command line ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("-w 4 shop:app", "server.workers", 4),
        ("shop:app --workers=5", "server.workers", 5),
        ("-w6 shop:app", "server.workers", 6),
        ("--keep 7 -b :1 -b unix:/x shop", "server.bind", [":1", "unix:/x"]),
        ("--protocol uwsgi -b :1 -b unix:/x shop", "server.bind", ["uwsgi::1", "uwsgi:/x"]),
        ("--protocol uwsgi shop", "server.bind", ["uwsgi:127.0.0.1:8000"]),
        ("--protocol uwsgi shop", "proxy.trusted", ["127.0.0.1", "::1"]),
        ("--protocol uwsgi --uwsgi-allow-from 10.0.0.1 shop", "proxy.trusted", ["10.0.0.1"]),
        ("--uwsgi-allow-from 10.0.0.1 shop", "proxy.trusted", ["127.0.0.1", "::1"]),
        ("--protocol http -b :1 shop", "server.bind", [":1"]),
        ("--no-sendfile --proxy-protocol --threads 2 shop", "server.threads", 2),
        ("shop:create_app()", "app.factory", "shop:create_app"),
        ("-e A=1 -e B=2 shop", "app.module", "shop"),
        ("--log-file - shop", "log.file", "-"),
    ],
)
def test_a_command_is_read_as_gunicorn_reads_it(conf: Conf, line: str, key: str, value: object) -> None:
    assert values(conf.command("gunicorn", *line.split()))[key] == value


def test_flags_win_over_the_variable_and_that_over_the_file(conf: Conf) -> None:
    conf.environ["GUNICORN_CMD_ARGS"] = "--timeout 2 --workers 2"
    draft = conf.command("gunicorn", "-w", "3", "shop", source="timeout = 1\nworkers = 1\nkeepalive = 1\n")
    found = values(draft)
    assert (found["timeouts.keep_alive"], found["timeouts.request"], found["server.workers"]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--nonsense 3 shop", "gunicorn: unrecognized arguments: --nonsense"),
        ("shop -w", "gunicorn: argument -w/--workers: expected one argument"),
        ("shop other", "it serves one application, and here are 2"),
        ("-c nothing.py shop", "nothing.py: FileNotFoundError"),
    ],
)
def test_a_command_that_gunicorn_would_refuse_is_refused(conf: Conf, line: str, said: str) -> None:
    with pytest.raises(ImportTrouble) as caught:
        conf.command("gunicorn", *line.split())
    assert said in str(caught.value)


def test_what_a_command_sets_before_it_is_known_to_the_file(conf: Conf) -> None:
    source = "import os\nworkers = int(os.environ['HOW_MANY'])\npidfile = '$HOME/x'\n"
    draft = conf.command("HOW_MANY=3", "gunicorn", "shop", source=source)
    assert values(draft)["server.workers"] == 3
    assert values(draft)["server.pid_file"] == f"{conf.directory}/$HOME/x"  # a file has no shell


def test_abbreviations_and_all_flags_parse() -> None:
    given, rest = command.parse(["--max-requests", "5", "-R", "shop:app", "--pre"])
    assert ({one.name: one.value for one in given}, rest) == (
        {"max_requests": "5", "enable_stdio_inheritance": True, "preload_app": True},
        ["shop:app"],
    )
