"""nginx's uwsgi_pass, with its own uwsgi_params, before a real daemon: one daemon and one nginx for all cases."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.programs import needs
from tests.support.proxies import NginxOf
from tests.support.waiting import wait_for

pytestmark = [needs("nginx"), needs("openssl")]

PARAMS = Path("/etc/nginx/uwsgi_params")
MEBIBYTE = 1 << 20
APP = """
import hashlib, json, os, time

VERSION = "v1"

def stream():
    yield b"first\\n"
    while os.path.exists("held"):
        time.sleep(0.01)
    yield b"last\\n"

def endless():
    yield b"first\\n"
    while True:
        time.sleep(0.01)
        yield b""

def application(environ, start_response):
    what = environ["PATH_INFO"].rpartition("/")[2]
    headers = [("Content-Type", "text/plain")]
    if what == "environ":
        body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
    elif what == "hash":
        digest, length = hashlib.sha256(), 0
        while data := environ["wsgi.input"].read(65536):
            digest.update(data)
            length += len(data)
        body = f"{digest.hexdigest()} {length}".encode()
    elif what == "large":
        body = bytes(range(256)) * (4096 * int(environ["QUERY_STRING"]))
    elif what == "file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    elif what == "same":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []
    elif what == "fails":
        1 / 0
    elif what == "stream":
        start_response("200 OK", headers)
        return stream()
    elif what == "endless":
        start_response("200 OK", headers)
        return endless()
    else:
        query = dict(pair.partition("=")[::2] for pair in environ["QUERY_STRING"].split("&"))
        body = f"{VERSION} {os.getpid()} {query.get('token', '')}\\n".encode()
    start_response("200 OK", headers)
    return [body]
"""
LOCATIONS = """
    include {params};
    location / {{ uwsgi_pass unix:{socket}; }}
    location /tcp/ {{ uwsgi_pass 127.0.0.1:{uwsgi_port}; }}
    location /unbuffered/ {{
        uwsgi_pass unix:{socket};
        uwsgi_request_buffering off;
        uwsgi_buffering off;
    }}
    location /shop/ {{
        include {params};
        uwsgi_param SCRIPT_NAME /shop;
        uwsgi_pass unix:{socket};
    }}
    location /modified/ {{ uwsgi_pass unix:{socket}; uwsgi_modifier1 30; }}
    location /http/to/uwsgi {{ proxy_pass http://unix:{socket}:; }}
    location /uwsgi/to/http {{ uwsgi_pass 127.0.0.1:{http_port}; }}
"""


class Behind:
    """The daemon, nginx before it, and the application's directory."""

    def __init__(self, directory: Path, daemon: Daemon, nginx: NginxOf) -> None:
        self.directory, self.daemon, self.nginx = directory, daemon, nginx

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.nginx.connect()
        try:
            connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def environ(self, path: str, **headers: str) -> dict[str, Any]:
        response, body = self.ask("GET", path, **headers)
        assert response.status == 200, self.daemon.log()
        found = json.loads(body)
        assert isinstance(found, dict)
        return found

    def write(self, source: str) -> None:
        """The application, newer than the last by seconds: Python would take the compiled old one."""
        path = self.directory / "app.py"
        age = path.stat().st_mtime + 10 if path.exists() else 1_700_000_000
        path.write_text(source, "utf-8")
        os.utime(path, (age, age))


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    if not PARAMS.exists():
        pytest.skip("nginx is not installed (Debian: nginx)")
    directory = tmp_path_factory.mktemp("u")
    path, port = directory / "u.sock", free_port()
    binds = [f"uwsgi:{path}", f"uwsgi:127.0.0.1:{port}"]
    flags = [text for bind in binds for text in ("--bind", bind)]
    settings = ["proxy.trusted=127.0.0.1", f"log.access_log={directory}/access.log", "server.workers=2"]
    settings.append("timeouts.drain_idle=0.1s")
    flags += [text for setting in settings for text in ("--set", setting)]
    daemon = Daemon(directory, "app", *flags)
    locations = LOCATIONS.format(params=PARAMS, socket=path, uwsgi_port=port, http_port=daemon.port)
    nginx = NginxOf(directory / "nginx", locations)
    made = Behind(directory, daemon, nginx)
    made.write(APP)
    with daemon, nginx:
        yield made
        assert daemon.stop() == 0, daemon.log()


# --- what the application learns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "/tcp"])
def test_the_client_and_its_url(behind: Behind, place: str) -> None:
    seen = behind.environ(f"{place}/a%20b//environ?q=%20", Cookie="a=b", X_Forwarded_For="6.6.6.6", Proxy="evil")
    told = {name: seen.get(name) for name in ("REMOTE_ADDR", "SERVER_PORT", "wsgi.url_scheme", "HTTPS", "HTTP_PROXY")}
    assert told == {
        "REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": str(behind.nginx.address[1]), "wsgi.url_scheme": "http",
        "HTTPS": None, "HTTP_PROXY": None,
    }  # fmt: skip
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == (f"{place}/a b/environ", "q=%20")
    assert (seen["REQUEST_URI"], seen["HTTP_COOKIE"]) == (f"{place}/a%20b//environ?q=%20", "a=b")
    assert "CONTENT_LENGTH" not in seen
    assert "CONTENT_TYPE" not in seen


def test_https_is_seen(behind: Behind) -> None:
    status, body = behind.nginx.get("/environ", tls=True)
    assert status == 200
    seen = json.loads(body)
    assert (seen["wsgi.url_scheme"], seen["HTTPS"]) == ("https", "on")
    assert seen["SERVER_PORT"] == str(behind.nginx.tls_address[1])


def test_a_prefix(behind: Behind) -> None:
    seen = behind.environ("/shop/cart/environ")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/cart/environ")


# --- bodies and answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("place", ["", "/tcp", "/unbuffered"])
def test_uploads_arrive_whole(behind: Behind, place: str, chunked: bool) -> None:
    body = random.Random(1).randbytes(3 * MEBIBYTE)
    sent: Any = iter([body[at : at + 100_000] for at in range(0, len(body), 100_000)]) if chunked else body
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    _, answer = behind.ask("POST", f"{place}/hash", sent, **headers)
    assert answer.decode() == f"{hashlib.sha256(body).hexdigest()} {len(body)}"


@pytest.mark.parametrize("place", ["", "/tcp", "/unbuffered"])
def test_large_answers_arrive_whole(behind: Behind, place: str) -> None:
    response, body = behind.ask("GET", f"{place}/large?8")
    assert response.getheader("Content-Length") == str(8 * MEBIBYTE)
    assert body == bytes(range(256)) * (8 * MEBIBYTE // 256)


def test_a_file_a_head_a_304_and_an_error(behind: Behind) -> None:
    assert behind.ask("GET", "/file")[1] == (behind.directory / "app.py").read_bytes()
    response, body = behind.ask("HEAD", "/large?1")
    assert (response.getheader("Content-Length"), body) == (str(MEBIBYTE), b"")
    response, body = behind.ask("GET", "/same")
    assert (response.status, response.getheader("ETag"), body) == (304, '"x"', b"")
    assert behind.ask("GET", "/fails")[0].status == 500


def test_a_stream_arrives_part_by_part(behind: Behind) -> None:
    held = behind.directory / "held"
    held.touch()
    connection = behind.nginx.connect()
    try:
        connection.request("GET", "/unbuffered/stream")
        response = connection.getresponse()
        assert response.readline() == b"first\n", "while the application still runs"
        held.unlink()
        assert response.read() == b"last\n"
    finally:
        held.unlink(missing_ok=True)
        connection.close()


def test_a_client_that_leaves_is_noticed(behind: Behind) -> None:
    access = behind.directory / "access.log"
    connection = behind.nginx.connect()
    connection.request("GET", "/unbuffered/endless")
    assert connection.getresponse().readline() == b"first\n"
    connection.close()
    wait_for(lambda: '/endless HTTP/1.1" 499' in access.read_text(), "a line with 499", story=access.read_text)


def test_reloads_under_load_lose_nothing(behind: Behind) -> None:
    try:
        with Load(behind.nginx.address, connections=8) as load:
            load.wait_for_version("v1")
            for number in (2, 3):
                behind.write(APP.replace('"v1"', f'"v{number}"'))
                assert behind.daemon.reload()
                load.wait_for_version(f"v{number}")
            load.wait_for_more(100)
            report = load.stop()
    finally:
        behind.write(APP)
    assert report.failures() == {}, (report.lost, behind.nginx.log(), behind.daemon.log())
    assert report.order() == ["v1", "v2", "v3"]


# --- what is wrong is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/http/to/uwsgi", 400, "these bytes are HTTP, but this socket speaks uwsgi: uwsgi_pass instead of proxy_pass"),
        ("/uwsgi/to/http", 400, "these bytes are uwsgi, but this port speaks HTTP: proxy_pass instead of uwsgi_pass"),
        ("/modified/", 501, "leave out uwsgi_modifier1"),
    ],
)
def test_a_wrong_configuration_is_told_by_name(behind: Behind, path: str, status: int, told: str) -> None:
    assert behind.ask("GET", path)[0].status == status
    behind.daemon.wait_for_log(told)


def test_what_nginx_lets_through_and_we_do_not(behind: Behind) -> None:
    """Its client gets our answer, and the log says why."""
    response, _ = behind.ask("GET", "/", **{f"X-{number}": "y" for number in range(150)})
    assert response.status == 431
    behind.daemon.wait_for_log("more than 100 fields; the limit is limits.fields")
