"""The Debian package on a machine with systemd: installed, run, upgraded, removed, purged. And its units by pip."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import lab
from tests.support.programs import needs
from tests.system import deb
from tests.system.debian import NEWER, PACKAGE, PYTHON, Clients, Debian

ROOT = Path(__file__).parents[2]
UPGRADED = "miniwsgi was upgraded: restart the service"

MISSING = deb.missing() or lab.missing()

# Building the package takes its time, on top of the test that is the first to want it.
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.timeout(deb.BUILD_SECONDS + 600),
]


@pytest.fixture(scope="module")
def package() -> Path:
    return deb.built()


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The package as a later version: its path, and the version."""
    return deb.newer(package, tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="module")
def shared(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A machine with the package installed; each test has an instance of its own."""
    with Debian(tmp_path_factory.mktemp("lab"), package) as machine:
        machine.install()
        yield machine


@pytest.fixture
def machine(package: Path, tmp_path: Path) -> Iterator[Debian]:
    """One for each test, with nothing installed."""
    with Debian(tmp_path, package) as fresh:
        yield fresh


# --- the package ------------------------------------------------------------------------------------------------


@pytest.mark.full  # it takes as long as all that the others need of the package
@needs("lintian")
def test_lintian_has_nothing_to_say(package: Path) -> None:
    checked = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", str(package)],
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr


def test_every_override_is_justified() -> None:
    paragraphs = (ROOT / "packaging/debian/miniwsgi.lintian-overrides").read_text().strip().split("\n\n")
    for paragraph in paragraphs:
        assert paragraph.startswith("# "), paragraph


def test_the_package_depends_on_the_python_it_was_built_for_and_brings_the_rest(package: Path) -> None:
    def field(name: str) -> str:
        command = ["dpkg-deb", "--field", str(package), name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    minor = int(subprocess.run([PYTHON, "-V"], check=True, capture_output=True, text=True).stdout.split(".")[1])
    depends = [part.strip() for part in field("Depends").split(",")]
    assert f"python3 (>= 3.{minor})" in depends
    assert f"python3 (<< 3.{minor + 1})" in depends
    assert not [part for part in depends if part.startswith(("python3-", "adduser"))]
    assert field("Architecture") != "all"


def test_commands_manuals_and_completions_are_where_one_looks_for_them(shared: Debian) -> None:
    version = shared.do("dpkg-query", "--show", "--showformat", "${Version}", "miniwsgi")
    for command in ("miniwsgi", "miniwsgictl"):
        assert shared.do(command, "--version").split() == [command, version]
        assert shared.do("man", "--where", command).strip() == f"/usr/share/man/man1/{command}.1.gz"
        completed = shared.do(
            *("bash", "-c", 'source "$1"; complete -p "$2"', "-"),
            *(f"/usr/share/bash-completion/completions/{command}", command),
        )
        assert completed.endswith(f" {command}\n")
    listed = shared.do("dpkg", "--listfiles", "miniwsgi").splitlines()
    for command in ("miniwsgi", "miniwsgictl"):
        assert f"/usr/share/zsh/vendor-completions/_{command}" in listed
        assert f"/usr/share/fish/vendor_completions.d/{command}.fish" in listed
    assert "/usr/share/doc/miniwsgi/examples/wsgi.py" in listed
    assert "/usr/share/doc/miniwsgi/examples/shop.toml" in listed
    for example in ("prometheus/miniwsgi.alerts.yml", "grafana/service.json", "proxies/nginx.conf"):
        assert f"/usr/share/doc/miniwsgi/examples/{example}" in listed
    assert "/usr/share/doc/miniwsgi/alerts.md" in listed, "where runbook_url leads"
    assert shared.do("dpkg-query", "--show", "--showformat", "${Conffiles}", "miniwsgi").count("\n ") == 1


def test_nothing_of_the_build_or_of_the_user_reaches_the_private_environment(shared: Debian) -> None:
    assert shared.run("grep", "--recursive", "--files-with-matches", "debian/miniwsgi", "/opt/miniwsgi").stdout == ""
    places = "import sys, miniwsgi.daemon; print(sys.prefix, miniwsgi.daemon.__file__)"
    prefix, module = shared.do("/opt/miniwsgi/bin/python3", "-I", "-c", places).split()
    assert prefix == "/opt/miniwsgi"
    assert module.startswith("/opt/miniwsgi/lib/python3.")
    shared.do("/opt/miniwsgi/bin/python3", "-I", "-c", "import rich.console, rich.control, rich.live, rich.text")
    shared.put("/root/broken/click.py", "raise SystemExit('the wrong click')\n")
    assert shared.do("env", "PYTHONPATH=/root/broken", "miniwsgi", "--version").startswith("miniwsgi ")


# --- running ----------------------------------------------------------------------------------------------------


def test_install_put_an_application_in_place_start(machine: Debian) -> None:
    said = machine.do("apt-get", "install", "--yes", "--no-install-recommends", PACKAGE)
    assert "miniwsgi: nothing runs yet." in said
    assert "install -D /usr/share/doc/miniwsgi/examples/wsgi.py /srv/app/wsgi.py" in said
    assert machine.run("systemctl", "is-enabled", "miniwsgi.service", "miniwsgi.socket").stdout == "disabled\n" * 2
    assert not machine.is_active("miniwsgi")

    assert machine.run("systemctl", "start", "miniwsgi").returncode != 0
    assert 'app.directory = "/srv/app"' in machine.messages("miniwsgi"), "it says what is missing"

    machine.do("install", "-D", "/usr/share/doc/miniwsgi/examples/wsgi.py", "/srv/app/wsgi.py")
    machine.do("systemctl", "enable", "--now", "miniwsgi")
    fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    assert machine.do(PYTHON, "-c", fetch, "http://127.0.0.1:8000/x").startswith("Hello from ")
    machine.do("systemctl", "reload", "miniwsgi")
    status = machine.do("miniwsgictl", "status")
    assert "running" in status
    assert "engine:       compiled\n" in status
    assert f"{PYTHON} (CPython 3." in machine.do("miniwsgi", "engine", "list", "--python", PYTHON)
    assert machine.property("miniwsgi", "NRestarts") == "0"


APART = ("flask", "django")
WHO = """
import importlib.util, os, pwd, sys

def who(framework):
    user = pwd.getpwuid(os.geteuid()).pw_name
    importable = [name for name in ("flask", "django") if importlib.util.find_spec(name)]
    return {"framework": framework, "prefix": sys.prefix, "user": user, "importable": importable}
"""
FLASK = """
import flask
from who import who

application = flask.Flask(__name__)
application.get("/")(lambda: who("flask"))
"""
DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from who import who

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
urlpatterns = [path("", lambda request: JsonResponse(who("django")))]
application = get_wsgi_application()
"""


VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def test_flask_and_django_each_from_its_own_environment_at_the_same_time(shared: Debian) -> None:
    ours, debians = (f"{sys.version_info[0]}.{sys.version_info[1]}", shared.do("python3", "-c", VERSION).strip())
    if ours != debians:
        pytest.skip(f"the frameworks at hand are for Python {ours}, Debian's is {debians}")
    for name, code in (("flask", FLASK), ("django", DJANGO)):
        pytest.importorskip(name)
        shared.environment(f"/srv/{name}/venv", name)
        shared.put(f"/srv/{name}/who.py", WHO)
        shared.put(f"/srv/{name}/wsgi.py", code)
        shared.configure(name, f"/srv/{name}", "systemd:http", python=f"/srv/{name}/venv/bin/python")
    shared.do("systemctl", "start", *(f"miniwsgi@{name}.{kind}" for kind in ("socket", "service") for name in APART))
    for name in APART:
        status, body = shared.get(f"/run/miniwsgi/{name}.sock")
        assert status == 200, body
        assert json.loads(body) == {
            "framework": name,
            "prefix": f"/srv/{name}/venv",
            "user": f"miniwsgi-{name}",
            "importable": [name],
        }
        assert "running" in shared.do("miniwsgictl", "--instance", name, "status")
    masters = {name: shared.property(f"miniwsgi@{name}", "MainPID") for name in APART}
    shared.do("systemctl", "reload", "miniwsgi@flask")
    shared.do("systemctl", "stop", "miniwsgi@flask.socket", "miniwsgi@flask.service")
    assert shared.get("/run/miniwsgi/django.sock")[0] == 200
    assert shared.property("miniwsgi@django", "MainPID") == masters["django"]
    shared.do("systemctl", "stop", "miniwsgi@django.socket", "miniwsgi@django.service")


@needs("logrotate")
def test_log_files_are_rotated(shared: Debian) -> None:
    shared.application("/srv/logged", "logged")
    access_log = "/var/log/miniwsgi/logged/access.log"
    shared.configure("logged", "/srv/logged", "unix:/run/miniwsgi/logged/http.sock", log=f'access_log = "{access_log}"')
    shared.do("systemctl", "start", "miniwsgi@logged")
    log = shared.path(access_log)

    def ask(path: str) -> None:
        assert shared.get("/run/miniwsgi/logged/http.sock", path) == (200, "logged")

    ask("/before")
    shared.wait(lambda: "/before" in log.read_text(), "the request is logged")
    shared.do("logrotate", "--force", "/etc/logrotate.d/miniwsgi")
    shared.wait(log.exists, "the daemon has opened a new file")
    ask("/after")
    shared.wait(lambda: "/after" in log.read_text(), "the request is logged in the new file")
    assert "/before" not in log.read_text()
    assert "/after" not in log.with_name("access.log.1").read_text()
    assert "/before" in log.with_name("access.log.1").read_text()
    assert log.stat().st_uid == log.with_name("access.log.1").stat().st_uid != 0
    shared.do("systemctl", "stop", "miniwsgi@logged")


# --- upgrades ---------------------------------------------------------------------------------------------------


def two_services(machine: Debian) -> None:
    """The one service with a listener of its own, and an instance whose socket is systemd's."""
    machine.install()
    machine.application("/srv/app", "own listener")
    machine.configure("miniwsgi", "/srv/app", "127.0.0.1:8000")
    machine.application("/srv/shop", "socket unit")
    machine.configure("shop", "/srv/shop", "systemd:http")
    machine.do("systemctl", "start", "miniwsgi@shop.socket", "miniwsgi@shop.service", "miniwsgi.service")


def test_an_upgrade_restarts_what_runs_and_loses_no_request(machine: Debian, newer: tuple[Path, str]) -> None:
    two_services(machine)
    path, version = newer
    shutil.copy(path, machine.path(NEWER))
    masters = {unit: machine.property(unit, "MainPID") for unit in ("miniwsgi", "miniwsgi@shop")}
    addresses = ("127.0.0.1:8000", "/run/miniwsgi/shop.sock")
    with Clients(machine, *addresses) as clients:
        machine.install(NEWER)
        for unit, pid in masters.items():
            assert machine.is_active(unit)
            assert machine.property(unit, "MainPID") not in {pid, "0"}
            assert f"miniwsgi {version} (" in machine.messages(unit)
    for address in addresses:
        assert clients.found[address]["failed"] == []
        assert clients.found[address]["answered"] > 0
    assert machine.is_active("miniwsgi@shop.socket")
    machine.do("systemctl", "reload", "miniwsgi", "miniwsgi@shop")


def test_a_reload_after_an_upgrade_without_a_restart_fails_with_its_reason_and_harms_nothing(
    machine: Debian, newer: tuple[Path, str]
) -> None:
    two_services(machine)
    shutil.copy(newer[0], machine.path(NEWER))
    master = machine.property("miniwsgi@shop", "MainPID")
    machine.policy(101)
    machine.install(NEWER)
    machine.application("/srv/shop", "new code")
    with Clients(machine, "/run/miniwsgi/shop.sock") as clients:
        assert machine.run("systemctl", "reload", "miniwsgi@shop").returncode != 0
        told = machine.run("miniwsgictl", "--instance", "shop", "reload")
        assert told.returncode == 1
        assert UPGRADED in told.stdout + told.stderr
    assert clients.found["/run/miniwsgi/shop.sock"]["failed"] == []
    assert UPGRADED in machine.messages("miniwsgi@shop")
    assert machine.get("/run/miniwsgi/shop.sock") == (200, "socket unit")
    assert machine.property("miniwsgi@shop", "MainPID") == master

    machine.do("systemctl", "restart", "miniwsgi@shop")
    assert machine.get("/run/miniwsgi/shop.sock") == (200, "new code")
    machine.do("systemctl", "reload", "miniwsgi@shop")


# --- the end ----------------------------------------------------------------------------------------------------


def test_remove_stops_and_purge_leaves_nothing(machine: Debian) -> None:
    before = machine.traces()
    two_services(machine)
    machine.do("systemctl", "enable", "miniwsgi.service", "miniwsgi.socket")
    machine.do("systemctl", "enable", "miniwsgi@shop.service", "miniwsgi@shop.socket", "miniwsgi-control@shop.socket")
    machine.do("miniwsgi", "check", "-c", "/etc/miniwsgi/shop.toml")
    machine.put("/var/lib/miniwsgi/shop/state", "kept by the application")

    machine.dpkg("--remove", "miniwsgi")
    assert not machine.is_active("miniwsgi.service")
    for unit in ("miniwsgi@shop.service", "miniwsgi@shop.socket"):
        assert not machine.is_active(unit)
    assert machine.processes() == []
    assert not machine.path("/opt/miniwsgi").exists(), "compiled modules go too"
    assert machine.path("/etc/miniwsgi/shop.toml").exists()
    assert machine.path("/var/lib/miniwsgi/shop/state").exists()

    machine.dpkg("--purge", "miniwsgi")
    try:  # systemd forgets a unit in its own time
        machine.wait(lambda: machine.traces() <= before, "nothing is left")
    finally:
        assert machine.traces() - before == set()
    assert machine.path("/srv/shop/wsgi.py").exists(), "the application is its owner's"


# --- by pip -----------------------------------------------------------------------------------------------------


def test_install_service_makes_the_same_service_of_a_virtual_environment_in_a_home(machine: Debian) -> None:
    environment = "/home/ann/venv"
    machine.do("install", "--directory", "--mode=0700", "/home/ann")
    machine.do(PYTHON, "-m", "venv", "--without-pip", environment)
    machine.do("dpkg-deb", "--extract", PACKAGE, "/root/unpacked")
    machine.do(
        *(
            "sh",
            "-c",
            'cp -R /root/unpacked/opt/miniwsgi/lib/python3*/site-packages/. "$1"/lib/python3*/site-packages/',
        ),
        *("-", environment),
    )
    for command, module in (("miniwsgi", "miniwsgi.daemon.cli"), ("miniwsgictl", "miniwsgi.manager.client.cli")):
        script = f"#!{environment}/bin/python3\nfrom {module} import main\n\nmain()\n"
        machine.put(f"{environment}/bin/{command}", script, 0o755)
    command = f"{environment}/bin/miniwsgi"

    assert f"ExecStart={command} serve" in machine.do(command, "install-service", "--dry-run")
    assert not machine.path("/etc/systemd/system/miniwsgi.service").exists()
    machine.path("/srv/image").mkdir()
    machine.do(command, "install-service", "--root", "/srv/image")
    assert machine.path("/srv/image/etc/passwd").read_text().startswith("miniwsgi:")
    assert machine.path("/srv/image/var/log/miniwsgi").is_dir()
    assert "systemctl daemon-reload" in machine.do(command, "install-service")
    machine.application("/srv/app", "by pip")
    machine.configure("miniwsgi", "/srv/app", "unix:/run/miniwsgi/miniwsgi/http.sock")
    machine.do("systemctl", "enable", "--now", "miniwsgi")
    assert machine.get("/run/miniwsgi/miniwsgi/http.sock") == (200, "by pip")
    machine.do("systemctl", "reload", "miniwsgi")

    machine.application("/srv/shop", "by pip too")
    machine.configure("other", "/srv/shop", "systemd:http")
    machine.do("mv", "/etc/miniwsgi/other.toml", "/srv/shop/pyproject.toml")
    machine.do("sed", "-i", r"s/^\[/[tool.miniwsgi./; s/wsgi:application/.\/wsgi.py/", "/srv/shop/pyproject.toml")
    machine.do(command, "install-service", "--instance", "shop", "--config", "/srv/shop/pyproject.toml")
    machine.do("systemctl", "start", "miniwsgi@shop.socket", "miniwsgi@shop.service")
    assert machine.get("/run/miniwsgi/shop.sock") == (200, "by pip too")

    installed = machine.run("dpkg", "--force-confold", "--install", PACKAGE)  # these units win, being in /etc
    assert installed.returncode == 0, installed.stderr
    assert "/etc/systemd/system/miniwsgi.service hides the unit of this package" in installed.stderr
    refused = machine.run(command, "install-service")
    assert refused.returncode == 1
    assert "from a package" in refused.stderr
