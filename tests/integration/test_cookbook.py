"""The cook-book's examples: each file is parsed, configurations are loaded, applications are imported and asked.

What needs a broker or a collector (Celery, OpenTelemetry) is parsed alone.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from miniwsgi.daemon.config import Config, load

PAGE = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text("utf-8")
BLOCK = re.compile(r"(?:`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {title.strip(): text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}
LIVE = "WebSockets: flask-sock, Flask-SocketIO"
EXECUTED = {"Django", "Django REST framework", "Flask", "Pyramid", LIVE}
ASK = """
import json, sys
from wsgiref.util import setup_testing_defaults
from miniwsgi.daemon.routes.choice import routed
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker.application import load

target, times, *paths = sys.argv[1:]
application = routed(load(Settings(generation=1, listeners=(), scoreboard_fd=-1, module=target, directory=".")))
for number in range(int(times)):
    for path in paths:
        environ = {"PATH_INFO": path, "HTTP_HOST": "localhost", "REMOTE_ADDR": "192.0.2.1"}
        environ["HTTP_X_FORWARDED_FOR"] = f"192.0.2.{number + 2}"
        setup_testing_defaults(environ)
        said = []
        result = application(environ, lambda status, headers, exc_info=None: said.append(status))
        body = b"".join(result)
        print(json.dumps([said[0], body.decode(), environ.get("miniwsgi.route")]))
"""
SETTINGS = """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "shop.urls"
MIDDLEWARE = []
INSTALLED_APPS = []
"""
URLS = """
from django.http import HttpResponse
from django.urls import include, path

def order(request, number):
    return HttpResponse(f"order {number}")

urlpatterns = [
    path("health/", lambda request: HttpResponse("fine")),
    path("shop/", include([path("orders/<int:number>", order)])),
]
"""
REST_URLS = """
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response

@api_view()
def index(request):
    return Response()

urlpatterns = [path("", index)]
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""


def files(section: str) -> dict[str, str]:
    """The files that a section shows, by their names."""
    return {path: text for path, _, text in BLOCK.findall(SECTIONS[section])}


def written(directory: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")


def asked(directory: Path, target: str, *paths: str, times: int = 1) -> list[list[str]]:
    """Status, body and route of each answer of the application, which is imported as a worker does it."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, target, str(times), *paths],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def configured(directory: Path, text: str) -> Config:
    """A configuration of the page, with its paths in a directory."""
    path = directory / "shop.toml"
    (directory / "env").write_text("A=1\n")
    text = text.replace("/srv/shop/venv/bin/python", sys.executable).replace("/srv/shop", str(directory))
    path.write_text(text.replace("/etc/shop", str(directory)))
    return load(str(path), {}, {})


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_can_be_parsed(section: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall(SECTIONS[section])
    assert blocks
    for path, language, text in blocks:
        assert path, text
        match language:
            case "python":
                ast.parse(text)
            case "toml":
                configured(tmp_path, text)
            case "ini":
                parser = configparser.RawConfigParser()
                parser.read_string(text)
                assert parser.sections()
            case other:
                pytest.fail(f"nobody tests {other}")


def test_those_that_need_nothing_else_are_executed() -> None:
    assert SECTIONS.keys() - EXECUTED == {"Celery beside it", "OpenTelemetry"}


def test_django(tmp_path: Path) -> None:
    shown = files("Django")
    config = configured(tmp_path, shown.pop("shop.toml"))
    own = {"shop/__init__.py": "", "shop/settings.py": SETTINGS, "shop/urls.py": URLS, "shop/wsgi.py": WSGI}
    written(tmp_path, {**own, **shown})
    check = [sys.executable, "-m", "miniwsgi.daemon", "check", "-c", config.path]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "/health/: answered" in done.stdout
    found, missing = asked(tmp_path, config.app.target, "/shop/orders/7", "/nothing")
    assert found == ["200 OK", "order 7", "/shop/orders/<int:number>"]
    assert missing[::2] == ["404 Not Found", ""]


def test_django_rest_framework_throttles_by_the_address_that_the_server_has_found_out(tmp_path: Path) -> None:
    shown = files("Django REST framework")
    more = SETTINGS.replace("INSTALLED_APPS = []", "INSTALLED_APPS = ['rest_framework']") + (
        "REST_FRAMEWORK['UNAUTHENTICATED_USER'] = None\nREST_FRAMEWORK['DEFAULT_AUTHENTICATION_CLASSES'] = []\n"
        "REST_FRAMEWORK['DEFAULT_RENDERER_CLASSES'] = ['rest_framework.renderers.JSONRenderer']\n"
    )
    settings = shown["shop/settings.py"] + more
    written(
        tmp_path,
        {"shop/__init__.py": "", "shop/settings.py": settings, "shop/urls.py": REST_URLS, "shop/wsgi.py": WSGI},
    )
    answers = [status for status, _, _ in asked(tmp_path, "shop.wsgi", "/", times=101)]
    assert answers == ["200 OK"] * 100 + ["429 Too Many Requests"]


def test_websockets(tmp_path: Path) -> None:
    written(tmp_path, {"shop/__init__.py": "", **files(LIVE)})
    answers = asked(tmp_path, "shop.live:app", "/prices", "/nothing")
    assert [status for status, _, _ in answers] == ["400 BAD REQUEST", "404 NOT FOUND"], "it asks for an upgrade"


def test_flask(tmp_path: Path) -> None:
    shown = files("Flask")
    config = configured(tmp_path, shown.pop("shop.toml"))
    written(tmp_path, shown)
    found, missing = asked(tmp_path, config.app.target, "/orders/7", "/nothing")
    assert found == ["200 OK", "order 7, production\n", "/orders/<int:number>"]
    assert missing[::2] == ["404 NOT FOUND", ""]


def test_pyramid(tmp_path: Path) -> None:
    written(tmp_path, files("Pyramid"))
    for target in ("./shop_wsgi.py", "shop:main({})"):
        found, missing = asked(tmp_path, target, "/orders/7", "/nothing")
        assert found == ["200 OK", "order 7\n", "/orders/{number}"]
        assert missing[::2] == ["404 Not Found", ""]
