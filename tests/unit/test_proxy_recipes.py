"""The recipes of docs/proxies.md: from what each proxy really sends, its settings make what the client has asked."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import request_uri

import pytest
import yaml
from miniwsgi.daemon.config.configuration import load
from miniwsgi.daemon.config.launching import worker_settings
from miniwsgi.daemon.engine.contract import Outcome

from tests.conformance.case import request
from tests.support.programs import program
from tests.support.proxies import HAPROXY_AROUND, NGINX_AROUND, recipes
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.conversation_world import NOW, World

RECIPES = recipes()
CLIENT = "198.51.100.7"
PROXY_FIELDS = (
    "trusted", "forwarded", "hops", "client_field", "scheme_field", "host_field", "port_field", "prefix_field",
    "prefix_stripped", "script_name", "script_name_stripped",
)  # fmt: skip


class Sent(NamedTuple):
    """A request as a proxy passes it on: from whom, and the lines; and the URL that its client has asked for."""

    recipe: str
    peer: str
    lines: str
    url: str
    client: str = CLIENT


# As the proxies' manuals and their sources have it. Each begins with what a client may have said of itself, where the
# proxy lets that through: X-Forwarded-For of 203.0.113.66.
SENT = [
    Sent("nginx", "", """\
GET /cart?a=b HTTP/1.1
Host: shop.example.com:8080
X-Forwarded-For: 198.51.100.7
X-Forwarded-Proto: http
X-Forwarded-Prefix: /shop
""", "http://shop.example.com:8080/shop/cart?a=b"),
    Sent("HAProxy", "", """\
GET /cart HTTP/1.1
host: shop.example.com
x-forwarded-for: 198.51.100.7
x-forwarded-proto: https
x-forwarded-port: 443
x-forwarded-prefix: /shop
""", "https://shop.example.com/shop/cart"),
    Sent("HAProxy", "", """\
GET /cart HTTP/1.1
host: shop.example.com
x-forwarded-for: 198.51.100.7
x-forwarded-proto: http
x-forwarded-port: 8080
""", "http://shop.example.com:8080/cart"),
    Sent("Caddy", "127.0.0.1", """\
GET /cart HTTP/1.1
Host: shop.example.com
User-Agent: curl/8.5.0
X-Forwarded-For: 198.51.100.7
X-Forwarded-Host: shop.example.com
X-Forwarded-Prefix: /shop
X-Forwarded-Proto: https
Accept-Encoding: gzip
""", "https://shop.example.com/shop/cart"),
    Sent("Traefik", "10.0.0.17", """\
GET /cart HTTP/1.1
Host: shop.example.com:8443
User-Agent: curl/8.5.0
X-Forwarded-For: 198.51.100.7
X-Forwarded-Host: shop.example.com:8443
X-Forwarded-Port: 8443
X-Forwarded-Prefix: /shop
X-Forwarded-Proto: https
X-Forwarded-Server: traefik-7d5
X-Real-Ip: 198.51.100.7
""", "https://shop.example.com:8443/shop/cart"),
    Sent("Kubernetes, ingress-nginx", "10.42.0.9", """\
GET /cart HTTP/1.1
Host: shop.example.com
X-Request-ID: 8d8a9f2f35b6b2a1a8a0c8a7a2a9b0c1
X-Real-IP: 198.51.100.7
X-Forwarded-For: 198.51.100.7
X-Forwarded-Host: shop.example.com
X-Forwarded-Port: 443
X-Forwarded-Proto: https
X-Forwarded-Scheme: https
X-Scheme: https
""", "https://shop.example.com/cart"),
    Sent("AWS: ALB", "10.0.3.4", """\
GET /cart HTTP/1.1
X-Forwarded-For: 203.0.113.66, 198.51.100.7
X-Forwarded-Proto: https
X-Forwarded-Port: 443
Host: shop.example.com
X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678
User-Agent: curl/8.5.0
""", "https://shop.example.com/cart"),
    Sent("AWS: ALB", "10.0.3.4", """\
GET /cart HTTP/1.1
X-Forwarded-For: 203.0.113.66, 10.0.9.9
X-Forwarded-Proto: http
X-Forwarded-Port: 80
Host: shop.internal
""", "http://shop.internal/cart", "10.0.9.9"),
    Sent("AWS: CloudFront before an ALB", "10.0.3.4", """\
GET /cart HTTP/1.1
X-Forwarded-For: 203.0.113.66, 198.51.100.7, 130.176.1.2
X-Forwarded-Proto: http
X-Forwarded-Port: 80
Host: shop.example.com
X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678
CloudFront-Forwarded-Proto: https
CloudFront-Viewer-Address: 198.51.100.7:46532
Via: 2.0 1a2b3c.cloudfront.net (CloudFront)
X-Amz-Cf-Id: abc==
User-Agent: Amazon CloudFront
""", "https://shop.example.com/cart"),
    Sent("Cloudflare", "127.0.0.1", """\
GET /cart HTTP/1.1
Host: shop.example.com
User-Agent: curl/8.5.0
Accept-Encoding: gzip, br
X-Forwarded-For: 203.0.113.66,198.51.100.7
CF-RAY: 8f0e1c2d3a4b5c6d-FRA
X-Forwarded-Proto: https
CF-Visitor: {"scheme":"https"}
CF-Connecting-IP: 198.51.100.7
CF-IPCountry: DE
CDN-Loop: cloudflare; loops=1
""", "https://shop.example.com/cart"),
]  # fmt: skip


def test_each_recipe_has_a_request_and_each_request_a_recipe() -> None:
    assert {sent.recipe for sent in SENT} == {name for name, snippets in RECIPES.items() if "toml" in snippets}
    assert all("toml" in snippets for snippets in RECIPES.values())


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: f"{sent.recipe} {sent.url}")
def test_the_application_learns_what_the_client_asked(sent: Sent, engine: str) -> None:
    tables = tomllib.loads(RECIPES[sent.recipe]["toml"])
    flags = {f"{section}.{name}": value for section, table in tables.items() for name, value in table.items()}
    settings = worker_settings(
        load(None, {"app.module": "x", **flags}, {}), generation=1, listeners=(), scoreboard_fd=3
    )
    world = World(engine, sent.peer, **{name: getattr(settings, name) for name in PROXY_FIELDS})
    seen: list[dict[str, Any]] = []
    world.during = lambda: seen.append(dict(world.conversation._environ))  # type: ignore[attr-defined]
    line, *fields = sent.lines.encode().splitlines()
    world.send(request(line, *fields))
    assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    assert (request_uri(seen[0]), seen[0]["REMOTE_ADDR"]) == (sent.url, sent.client)
    assert seen[0]["SERVER_PORT"] in {"80", "443", "8080", "8443"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_settings_are_accepted_without_a_warning_that_is_not_told(recipe: str) -> None:
    config = load(None, {"app.module": "x"}, {}, RECIPES[recipe]["toml"])
    assert config.proxy.trusted
    assert len(config.notes) == ("*" in config.proxy.trusted)


# --- the proxies' own judgement of their snippets ---


def test_nginx_accepts_it(tmp_path: Path) -> None:
    server = f"upstream miniwsgi {{ server unix:{tmp_path}/x.sock; }}\nserver {{ listen 127.0.0.1:1;\n"
    (tmp_path / "snippet.conf").write_text(server + RECIPES["nginx"]["nginx"] + "}\n", "utf-8")
    path = tmp_path / "nginx.conf"
    path.write_text(NGINX_AROUND.format(directory=tmp_path, user=""), "utf-8")
    accepted([program("nginx"), "-t", "-e", f"{tmp_path}/log", "-p", str(tmp_path), "-c", str(path)])


def test_haproxy_accepts_it(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(HAPROXY_AROUND + RECIPES["HAProxy"]["haproxy"], "utf-8")
    accepted([program("haproxy"), "-c", "-f", str(path)])


def test_caddy_accepts_it(tmp_path: Path) -> None:
    path = tmp_path / "Caddyfile"
    path.write_text(RECIPES["Caddy"]["caddyfile"].replace("shop.example.com", ":80"), "utf-8")
    accepted([program("caddy"), "adapt", "--config", str(path), "--adapter", "caddyfile"])


def test_what_traefik_is_given_is_yaml_with_what_belongs_together() -> None:
    """There is no Traefik here to ask."""
    http = yaml.safe_load(RECIPES["Traefik"]["yaml"])["http"]
    router = http["routers"]["shop"]
    assert router["service"] in http["services"]
    assert set(router["middlewares"]) <= http["middlewares"].keys()


def accepted(command: list[str]) -> None:
    assert shutil.which(command[0])
    checked = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warn" not in checked.stderr.lower(), checked.stderr
