"""Flask's ProxyFix, Django's settings for proxies, and wsgiref: the client's URL with ours, with theirs, with both."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from wsgiref.util import request_uri

import pytest
from flask import Flask, request, url_for
from miniwsgi.daemon.engine.contract import Outcome
from werkzeug.middleware.proxy_fix import ProxyFix

from tests.conformance.case import get
from tests.support.uwsgi import packet
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.conversation_world import NOW, World

OURS = {
    "trusted": ("10.0.0.1",), "host_field": "X-Forwarded-Host", "port_field": "X-Forwarded-Port",
    "prefix_field": "X-Forwarded-Prefix",
}  # fmt: skip
CLIENT = "198.51.100.7"
# By its URL, what a proxy makes of a request.
SENT = {
    "https://shop.example.com/p/cart?a=b": get(
        b"/cart?a=b", b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Prefix: /p",
        b"X-Forwarded-Host: shop.example.com", b"X-Forwarded-Port: 443",
    ),
    "https://shop.example.com:8443/cart?a=b": get(
        b"/cart?a=b", b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.example.com:8443", b"X-Forwarded-Port: 8443",
    ),
    "http://shop.example.com:8080/a/b/cart": get(
        b"/cart", b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: http", b"X-Forwarded-Prefix: /a/b",
        b"X-Forwarded-Host: shop.example.com", b"X-Forwarded-Port: 8080",
    ),
}  # fmt: skip
# The same as nginx says it by uwsgi_pass, with what would say something else over HTTP.
FORGED = {"HTTP_X_FORWARDED_FOR": b"6.6.6.6", "HTTP_X_FORWARDED_HOST": b"evil", "HTTP_X_FORWARDED_PROTO": b"gopher"}
IN_UWSGI = {
    "https://shop.example.com/p/cart?a=b": packet(
        target=b"/p/cart?a=b", SCRIPT_NAME=b"/p", HTTPS=b"on", SERVER_PORT=b"443", HTTP_HOST=b"shop.example.com",
        REMOTE_ADDR=CLIENT.encode(), **FORGED,
    ),
    "https://shop.example.com:8443/cart?a=b": packet(
        target=b"/cart?a=b", REQUEST_SCHEME=b"https", SERVER_PORT=b"8443", HTTP_HOST=b"shop.example.com:8443",
        REMOTE_ADDR=CLIENT.encode(), **FORGED,
    ),
    "http://shop.example.com:8080/a/b/cart": packet(
        target=b"/cart", SCRIPT_NAME=b"/a/b", SERVER_PORT=b"8080", HTTP_HOST=b"shop.example.com:8080",
        REMOTE_ADDR=CLIENT.encode(), **FORGED,
    ),
}  # fmt: skip


def environ(engine: str, data: bytes, settings: dict[str, Any], protocol: str = "http") -> dict[str, Any]:
    """What the application is given."""
    world = World(engine, "10.0.0.1", protocol=protocol, **settings)
    seen: list[dict[str, Any]] = []
    world.during = lambda: seen.append(dict(world.conversation._environ))  # type: ignore[attr-defined]
    world.send(data)
    assert world.conversation.serve(world.thread, NOW) in {Outcome.IDLE, Outcome.END}
    return seen[0]


def flask_application() -> Flask:
    app = Flask(__name__)

    @app.route("/cart")
    def cart() -> dict[str, Any]:
        link = url_for("cart", _external=True)
        return {"url": request.url, "link": link, "client": request.remote_addr, "secure": request.is_secure}

    return app


@pytest.mark.parametrize("url", SENT)
@pytest.mark.parametrize(
    ("ours", "fixed"), [(True, False), (True, True), (False, True)], ids=["ours", "both", "ProxyFix alone"]
)
def test_flask(engine: str, url: str, ours: bool, fixed: bool) -> None:
    app = flask_application()
    if fixed:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)  # type: ignore[method-assign]
    answer = b"".join(app(environ(engine, SENT[url], OURS if ours else {}), lambda *_rest: None))
    said = json.loads(answer)
    bare = url.partition("?")[0]
    expected = {"url": url, "link": bare, "client": CLIENT, "secure": url.startswith("https")}
    assert said == expected


@pytest.mark.parametrize("url", IN_UWSGI)
def test_flask_behind_uwsgi_pass(url: str) -> None:
    answer = b"".join(flask_application()(environ("plain", IN_UWSGI[url], OURS, "uwsgi"), lambda *_rest: None))
    expected = {"url": url, "link": url.partition("?")[0], "client": CLIENT, "secure": url.startswith("https")}
    assert json.loads(answer) == expected


def test_wsgiref(engine: str) -> None:
    assert {url: request_uri(environ(engine, data, OURS)) for url, data in SENT.items()} == {url: url for url in SENT}


# One process of its own: Django's settings are of the process, and it is not to be loaded into that of the tests.
DJANGO = """
import io, json, sys
import django
from django.conf import settings
from django.test.utils import override_settings
settings.configure(ALLOWED_HOSTS=["*"])
django.setup()
from django.core.handlers.wsgi import WSGIRequest
found = []
for environ in json.load(sys.stdin):
    for own in (False, True):
        header = ("HTTP_X_FORWARDED_PROTO", "https") if own else None
        with override_settings(SECURE_PROXY_SSL_HEADER=header, USE_X_FORWARDED_HOST=own):
            request = WSGIRequest({**environ, "wsgi.input": io.BytesIO()})
            found.append([request.build_absolute_uri(), request.is_secure(), request.META["REMOTE_ADDR"]])
print(json.dumps(found))
"""


def test_django(engine: str) -> None:
    given = [environ(engine, data, OURS) for data in SENT.values()]
    given += [environ(engine, data, OURS, "uwsgi") for data in IN_UWSGI.values()]
    environs = [{name: value for name, value in one.items() if isinstance(value, str)} for one in given]
    program = [sys.executable, "-c", DJANGO]
    done = subprocess.run(
        program, input=json.dumps(environs), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for at, url in enumerate(SENT):
        secure = url.startswith("https")
        own_url = url
        if ":8080" in url:  # X-Forwarded-Host as it came, which Django reads then, has no port
            own_url = url.replace(":8080", "")
        assert found[2 * at] == [url, secure, CLIENT]
        assert found[2 * at + 1] == [own_url, secure, CLIENT]
    assert found[2 * len(SENT) :: 2] == [[url, url.startswith("https"), CLIENT] for url in IN_UWSGI]
