"""uWSGI's files and commands become a draft: as uWSGI reads them, and what is said of those that cannot be read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from miniwsgi.daemon.config import load
from miniwsgi.daemon.migration import commands, sources
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.commented_toml import written
from miniwsgi.daemon.migration.draft import Draft, Heading
from miniwsgi.daemon.migration.trouble import ImportTrouble
from miniwsgi.daemon.migration.uwsgi import variables


class Files:
    """uWSGI's files in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ: dict[str, str] = {}

    def draft(self, text: str, name: str = "app.ini", section: str = "") -> Draft:
        path = self.directory / name
        path.write_text(dedent(text))
        draft = sources.import_file(str(path), Asked(str(self.directory), sys.executable, self.environ), "", section)
        draft.finish()
        return draft

    def ini(self, *lines: str) -> Draft:
        return self.draft("\n".join(["[uwsgi]", "module = shop", *lines, ""]))

    def trouble(self, text: str, name: str = "app.ini", section: str = "") -> str:
        with pytest.raises(ImportTrouble) as caught:
            self.draft(text, name, section)
        return str(caught.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def values(draft: Draft) -> dict[str, Any]:
    return {key: line.value for key, line in draft.lines.items() if not line.refused}


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (["processes = 4"], "server.workers", 4),
        (["workers = 4 ; four"], "server.workers", 4),
        (["processes = 4", "processes = 5"], "server.workers", 5),
        (["threads = 3"], "server.threads", 3),
        ([], "server.threads", 1),
        ([], "server.workers", 1),
        (["gevent = 100"], "server.threads", 32),
        (["http = :8000"], "server.bind", [":8000"]),
        (["http-socket = 127.0.0.1:1", "http-socket = 127.0.0.1:2"], "server.bind", ["127.0.0.1:1", "127.0.0.1:2"]),
        (["socket = /run/x.sock", "protocol = http"], "server.bind", ["unix:/run/x.sock"]),
        (["socket = @x", "protocol = http"], "server.bind", ["unix:@x"]),
        (["http-socket = /run/x.sock"], "proxy.trusted", ["unix"]),
        (["socket = 127.0.0.1:3031"], "proxy.trusted", ["127.0.0.1", "::1"]),
        (["https = :443,/c.pem,/k.pem", "http-to-https = :80"], "server.bind",
         [{"address": ":443", "certificate": "/c.pem", "key": "/k.pem"}, {"address": ":80", "redirect": "https"}]),
        (["https-socket = :443,/c.pem,/k.pem,HIGH,!/ca"], "server.bind", [{
            "address": ":443", "certificate": "/c.pem", "key": "/k.pem", "client_ca": "/ca", "client": "required",
            "ciphers": "HIGH",
        }]),
        (["chmod-socket = 660"], "server.socket_mode", "0660"),
        (["chmod-socket = true"], "server.socket_mode", "0666"),
        (["chown-socket = root:root"], "server.socket_owner", "root"),
        (["chown-socket = root:root"], "server.socket_group", "root"),
        (["listen = 1024"], "server.backlog", 1024),
        (["harakiri = 30"], "timeouts.request", 30),
        (["harakiri = 0"], "timeouts.request", "off"),
        (["max-requests = 100"], "recycle.max_requests", 100),
        (["reload-on-rss = 256"], "recycle.max_rss", "256 MiB"),
        (["venv = /srv/venv"], "app.python", "/srv/venv/bin/python"),
        (["lazy-apps = true"], "app.preload", "false"),
        (["callable = app"], "app.module", "shop:app"),
        (["logto = /var/log/x.log"], "log.file", "/var/log/x.log"),
        (["logger = stdio"], "log.file", "-"),
        (["req-logger = requests file:/var/log/a.log"], "log.access_log", "/var/log/a.log"),
        ([], "log.access_log", "-"),
        (["disable-logging = true", "log-4xx = true"], "log.access_lines", "problems"),
        (["log-slow = 1500"], "log.slow_request", "1500ms"),
        (["log-format = %(addr) \"%(method) %(uri) %(proto)\" %(status) %(msecs)"], "log.access_log_format",
         '%(h)s "%(m)s %({request_uri}e)s %(H)s" %(s)s %(M)s'),
        (["py-autoreload = 2"], "server.reload_on_change", True),
        (["uid = root", "gid = root", "umask = 022"], "server.umask", "0022"),
        (["buffer-size = 65535"], "limits.fields_size", 65535),
    ],
)  # fmt: skip
def test_an_option_becomes_a_key(files: Files, lines: list[str], key: str, value: object) -> None:
    assert values(files.ini(*lines))[key] == value


def test_an_address_that_is_named_nowhere_is_said_to_be_missing(files: Files) -> None:
    missing = "no address is named here: server.bind is 127.0.0.1:8000, until it is set"
    assert missing in files.ini().warnings
    assert missing not in files.ini("http = :8000").warnings
    assert missing not in files.ini("http = :$(PORT)").warnings


def test_logs_can_be_off(files: Files) -> None:
    assert values(files.ini("disable-logging = true"))["log.access_log"] == "off"


@pytest.mark.parametrize(
    ("target", "key", "value"),
    [
        ("module = shop.wsgi:app", "app.module", "shop.wsgi:app"),
        ("module = shop:create_app()", "app.factory", "shop:create_app"),
        ("wsgi = shop.wsgi", "app.module", "shop.wsgi"),
        ("mount = /shop=shop.wsgi:app", "server.script_name", "/shop"),
        ("mount = /=shop.wsgi:app", "app.module", "shop.wsgi:app"),
    ],
)
def test_the_application(files: Files, target: str, key: str, value: str) -> None:
    assert values(files.draft(f"[uwsgi]\n{target}\n"))[key] == value


def test_a_file_is_an_application_too(files: Files) -> None:
    draft = files.draft("[uwsgi]\nchdir = web\nwsgi-file = app.py\ncallable = main\n")
    assert values(draft)["app.module"] == f"{files.directory}/web/app.py:main"


def test_what_stands_for_something_else_is_replaced(files: Files) -> None:
    files.environ["WHO"] = "me"
    (files.directory / "key").write_text("from a file\n")
    draft = files.ini(
        "name = shop",
        "dir = /srv/%(name)",
        "set-ph = port=81",
        "pidfile = %(dir)/%n.pid",
        "http = 127.0.0.1:%(port)",
        "env = A=$(WHO)",
        f"env = B=@({files.directory}/key)",
        "env = C=100%%",
        "processes = %k",
    )
    assert values(draft)["server.pid_file"] == "/srv/shop/app.pid"
    assert values(draft)["server.bind"] == ["127.0.0.1:81"]
    assert {name: line.value for name, line in draft.env.items()} == {"A": "me", "B": "from a file", "C": "100%"}
    assert draft.env["A"].was == "A=$(WHO)"
    assert (draft.lines["server.workers"].value, draft.lines["server.workers"].was) == (os.cpu_count(), "%k")
    assert Heading.UNKNOWN not in draft.remarks, "what is only a name for others is none that is unknown"


def test_the_letters_are_those_of_the_file() -> None:
    letters = variables.magic("/srv/shop/app.ini", "live")
    found = [letters[letter] for letter in "pdsnecx01"]
    assert found == ["/srv/shop/app.ini", "/srv/shop/", "app.ini", "app", "ini", "shop", "live", "srv", "shop"]


def test_placeholders_that_name_each_other_end(files: Files) -> None:
    draft = files.ini("a = %(b)", "b = %(a)x", "pidfile = /run/%(a)")
    assert draft.lines["app.module"].value == "shop"


def test_what_is_not_known_is_left_out_and_said(files: Files) -> None:
    draft = files.ini("processes = $(NOT_SET)", "nonsense = 3", "pidfile = %(nowhere)")
    assert "server.pid_file" not in draft.lines
    said = "\n".join(draft.warnings)
    assert "processes is left out: $(NOT_SET) is not known here (app.ini, line 3)" in said
    assert "nonsense (app.ini, line 4): not among the options" in said
    assert "%(nowhere)" in said


def test_switches_that_are_off_are_not_told(files: Files) -> None:
    draft = files.ini("master = false", "vacuum = true")
    assert [name for name, _ in draft.remarks[Heading.BUILT_IN]] == ["vacuum"]


def test_other_files_are_read_in_their_place(files: Files) -> None:
    (files.directory / "base.ini").write_text("[live]\nprocesses = 2\nthreads = 2\nharakiri = 10\n")
    draft = files.ini("harakiri = 5", "ini = base.ini:live", "threads = 7")
    found = values(draft)
    assert (found["server.workers"], found["server.threads"], found["timeouts.request"]) == (2, 7, 10)


def test_another_section_of_the_same_file(files: Files) -> None:
    text = "[uwsgi]\nini = :common\nthreads = 2\n[common]\nmodule = shop\n[dev]\nini = :common\nthreads = 9\n"
    assert values(files.draft(text))["server.threads"] == 2
    assert values(files.draft(text, section="dev"))["server.threads"] == 9


def test_conditions_are_carried_out_and_told(files: Files) -> None:
    files.environ["MODE"] = "live"
    draft = files.ini(
        "if-env = MODE=live", "threads = 5", "endif =",
        "if-env = MODE=dev", "threads = 6", "endif =",
        "if-not-exists = /", "threads = 7", "endif =",
        "if-opt = x", "threads = 8", "endif =",
    )  # fmt: skip
    assert values(draft)["server.threads"] == 5
    assert "if-opt = x (app.ini, line 12) is not understood" in "\n".join(draft.warnings)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("module = x\n", "app.ini", "app.ini has no section [uwsgi]: uWSGI would read nothing of it"),
        (
            "[app:main]\nuse = x\n",
            "app.ini",
            "app.ini has no section [uwsgi]: it has [app:main]: name one with --select",
        ),
        ("[uwsgi\nmodule = x\n", "app.ini", "app.ini, line 1: '[uwsgi': expected a section"),
        ("[uwsgi]\nini = nothing.ini\n", "app.ini", "app.ini, line 2: ini = nothing.ini: No such file"),
        ("[uwsgi]\nini = app.ini\n", "app.ini", "files that include each other"),
        ("other:\n  a: b\n", "app.yaml", "app.yaml has no uwsgi: with options below it"),
        ("uwsgi:\n  module\n", "app.yaml", "app.yaml, line 2: 'module': expected NAME: VALUE"),
        ('{"uwsgi": 3}', "app.json", 'app.json has no "uwsgi": with an object of options'),
        ('{"uwsgi": ', "app.json", "app.json: it is not JSON: Expecting value"),
        ("<uwsgi><a></uwsgi>", "app.xml", "app.xml: it is not XML: mismatched tag"),
        ("<other/>", "app.xml", "app.xml has no <uwsgi>"),
    ],
)
def test_a_file_that_is_not_understood_says_where(files: Files, text: str, name: str, said: str) -> None:
    assert said in files.trouble(text, name)


def test_json_and_yaml_and_xml_say_the_same(files: Files) -> None:
    drafts = [
        files.draft('{"uwsgi": {"module": "shop", "processes": 2, "master": true, "env": ["A=1", "B=2"]}}', "a.json"),
        files.draft("uwsgi:\n  module: 'shop'\n  processes: 2\n  master: true\n  env:\n  - A=1\n  - B=2\n", "a.yaml"),
        files.draft(
            "<uwsgi><module>shop</module><processes>2</processes><master/><env>A=1</env><env>B=2</env></uwsgi>", "a.xml"
        ),
        files.draft("[uwsgi]\nmodule = shop\nprocesses = 2\nmaster = true\nenv = A=1\nenv = B=2\n", "a.ini"),
    ]
    said = [(values(draft), {name: line.value for name, line in draft.env.items()}) for draft in drafts]
    assert all(one == said[0] for one in said)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("--http :8000 -w shop -p4 -M", "server.workers", 4),
        ("--http=:8000 --master --wsgi shop --threads 3", "server.threads", 3),
        ("app.ini --processes 9", "server.workers", 9),
        ("--ini app.ini:dev", "server.threads", 6),
        ("shop.py", "app.module", "{here}/shop.py"),
        ("-s /run/x -w shop -H /venv", "app.python", "/venv/bin/python"),
        ("--http-socket :$PORT -w shop", "app.module", "shop"),
    ],
)
def test_a_command_is_read(files: Files, line: str, key: str, value: object) -> None:
    (files.directory / "app.ini").write_text(
        "[uwsgi]\nmodule = shop\nprocesses = 3\n[dev]\nmodule = shop\nthreads = 6\n"
    )
    draft = commands.from_words(["uwsgi", *line.split()], Asked(str(files.directory), sys.executable, {}))
    expected = value.format(here=files.directory) if isinstance(value, str) else value
    assert draft.lines[key].value == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--http", "uwsgi: --http: expected a value after it"),
        ("nonsense", "uwsgi: nonsense: expected an option, or a file"),
        ("nothing.ini", "nothing.ini: No such file"),
    ],
)
def test_a_command_that_is_wrong_says_so(files: Files, line: str, said: str) -> None:
    with pytest.raises(ImportTrouble) as caught:
        commands.from_words(["uwsgi", *line.split()], Asked(str(files.directory), sys.executable, {}))
    assert said in str(caught.value)


def test_a_socket_that_speaks_http_is_one_of_ours(files: Files) -> None:
    draft = files.ini("socket = 0.0.0.0:5000", "protocol = http")
    assert values(draft)["server.bind"] == ["0.0.0.0:5000"]
    assert draft.warnings == []
    assert "protocol" in dict(draft.remarks[Heading.BUILT_IN])
    other = files.ini("socket = @x", "protocol = fastcgi")
    assert "protocol" in dict(other.remarks[Heading.TODO])
    assert "protocol = fastcgi is not spoken here" in other.warnings[0]


@pytest.mark.parametrize(
    ("lines", "binds", "trusted", "warned"),
    [
        (("socket = /run/x.sock",), ["uwsgi:/run/x.sock"], None, ""),
        (("socket = x.sock", "protocol = uwsgi"), ["uwsgi:unix:x.sock"], None, ""),
        (("uwsgi-socket = @x",), ["uwsgi:@x"], None, ""),
        (("socket = 127.0.0.1:3031",), ["uwsgi:127.0.0.1:3031"], ["127.0.0.1", "::1"], ""),
        (("socket = :3031",), ["uwsgi::3031"], ["127.0.0.1", "::1"], "on every address, but only to proxies on this"),
        (("socket = 10.0.0.5:3031",), ["uwsgi:10.0.0.5:3031"], ["127.0.0.1", "::1"], "on 10.0.0.5:3031, but only to"),
        (
            ("http-socket = /run/h.sock", "socket = /run/x.sock"),
            ["unix:/run/h.sock", "uwsgi:/run/x.sock"],
            ["unix"],
            "",
        ),
    ],
)
def test_a_socket_speaks_uwsgi_as_before(
    files: Files, lines: tuple[str, ...], binds: list[str], trusted: list[str] | None, warned: str
) -> None:
    draft = files.ini("module = shop", *lines)
    draft.relative_to(str(files.directory / "miniwsgi.toml"))
    assert values(draft)["server.bind"] == binds
    assert values(draft).get("proxy.trusted") == trusted
    assert (warned in " ".join(draft.warnings)) if warned else draft.warnings == []
    path = files.directory / "miniwsgi.toml"
    draft.finish()
    path.write_text(written(draft, "1"), "utf-8")
    assert [bind.protocol for bind in load(str(path), {}, {}).server.bind][-1] == "uwsgi"


def test_a_condition_has_what_it_tests_for_what_is_in_it(files: Files) -> None:
    files.environ["VIRTUAL_ENV"] = "/srv/venv"
    (files.directory / "here").mkdir()
    draft = files.ini(
        "if-env = VIRTUAL_ENV",
        "virtualenv = %(_)",
        "endif =",
        "if-dir = here",
        "env = HERE=%(_)",
        "endif =",
        "env = B=1",
    )
    assert values(draft)["app.python"] == "/srv/venv/bin/python"
    assert {name: line.value for name, line in draft.env.items()} == {"HERE": "here", "B": "1"}


def test_an_emperors_file_leads_to_the_vassals(files: Files) -> None:
    draft = files.draft("[uwsgi]\nemperor = /etc/uwsgi/vassals\n")
    assert "emperor = /etc/uwsgi/vassals: this file starts others" in draft.warnings[0]
    assert not any("not named" in warning for warning in draft.warnings)


def test_an_env_without_a_value_is_told(files: Files) -> None:
    draft = files.ini("env = A")
    assert not draft.env
    assert dict(draft.remarks[Heading.TODO])["env"] == "'A' (app.ini, line 3): expected NAME=VALUE"
