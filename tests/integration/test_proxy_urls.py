"""nginx and HAProxy with the recipes of docs/proxies.md before a daemon: the application knows the client's URL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.programs import needs
from tests.support.proxies import SOCKET, HAProxy, Nginx, Proxy, in_place, recipes
from tests.support.service import Service

pytestmark = needs("openssl")

APP = """
import json
from wsgiref.util import request_uri

def application(environ, start_response):
    names = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "SERVER_PORT", "REMOTE_ADDR")
    body = json.dumps([request_uri(environ), *(environ[name] for name in names)]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class ByRecipe(Proxy):
    """With what the page says, for http alone."""

    def __init__(self, directory: Path, unix_socket: Path, metrics_port: int) -> None:
        super().__init__(directory, unix_socket, metrics_port)
        self.tls_address = self.address


class NginxByRecipe(ByRecipe, Nginx):
    def snippet(self) -> str:
        return (
            f"upstream miniwsgi {{ server unix:{self.unix_socket}; }}\n"
            f"server {{ listen 127.0.0.1:{self.address[1]};\n{recipes()['nginx']['nginx']}}}\n"
        )


class HAProxyByRecipe(ByRecipe, HAProxy):
    def snippet(self) -> str:
        bind = f"bind 127.0.0.1:{self.address[1]}"
        return in_place(recipes()["HAProxy"]["haproxy"], {"bind :80": bind, SOCKET: str(self.unix_socket)})


@pytest.mark.parametrize(("kind", "recipe"), [(NginxByRecipe, "nginx"), (HAProxyByRecipe, "HAProxy")])
def test_the_url_and_the_client_are_those_outside(kind: type[ByRecipe], recipe: str, service: Service) -> None:
    kind.need()
    service.write(APP)
    unix_socket = service.directory / "http.sock"
    configuration = service.configure(
        f'[server]\nworkers = 1\nbind = ["unix:{unix_socket}"]\n{recipes()[recipe]["toml"]}'
    )
    daemon = service.start("-c", configuration, bind=False)
    daemon.settle(1)
    with kind(service.directory / "proxy", unix_socket, free_port()) as proxy:
        port = proxy.address[1]
        status, body = proxy.get("/shop/cart%20a?b=c", {"X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "6.6.6.6"})
    assert status == 200, body
    url = f"http://127.0.0.1:{port}/shop/cart%20a?b=c"
    server_port = str(port) if kind is HAProxyByRecipe else ""  # it says the port in a field; the socket has none
    assert json.loads(body) == [url, "/shop", "/cart a", "/cart%20a?b=c", server_port, "127.0.0.1"]
