"""NGINX Unit's configuration becomes a draft for one of its Python applications."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.migration import sources
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.draft import Draft, Heading
from miniwsgi.daemon.migration.trouble import ImportTrouble

SHOP = {"type": "python 3", "path": "/srv/shop", "module": "shop.wsgi"}


def imported(directory: Path, config: object, which: str = "") -> Draft:
    path = directory / "unit.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    draft = sources.import_file(str(path), Asked(str(directory), sys.executable, {}), "", which)
    draft.finish()
    return draft


def config(listeners: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, **shop: Any) -> Any:
    """A configuration with one application."""
    found = {"listeners": {"*:80": {"pass": "applications/shop"}} if listeners is None else listeners}
    return {**found, "applications": {"shop": {**SHOP, **shop}}, "settings": {"http": settings or {}}}


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        (config(), "server.bind", [":80"]),
        (config(), "app.module", "shop.wsgi:application"),
        (config(callable="app"), "app.module", "shop.wsgi:app"),
        (config(callable="make", factory=True), "app.factory", "shop.wsgi:make"),
        (config(), "app.directory", "/srv/shop"),
        (config(working_directory="/srv"), "app.directory", "/srv"),
        (config(home="/srv/venv"), "app.python", "/srv/venv/bin/python"),
        (config(), "server.workers", 1),
        (config(processes=3), "server.workers", 3),
        (config(processes={"max": 5, "spare": 1}), "server.workers", 5),
        (config(), "server.threads", 1),
        (config(threads=2), "server.threads", 2),
        (config(limits={"timeout": 9}), "timeouts.request", 9),
        (config(limits={"requests": 99}), "recycle.max_requests", 99),
        (config(user="root"), "server.user", "root"),
        (config(prefix="/shop/"), "server.script_name", "/shop"),
        (config(stderr="/var/log/x.log"), "log.file", "/var/log/x.log"),
        (config(), "limits.body_max", 8 << 20),
        (config(settings={"max_body_size": 0}), "limits.body_max", "off"),
        (config(settings={"idle_timeout": 60}), "timeouts.keep_alive", 60),
        (config(settings={"server_version": False}), "server.server_header", "off"),
        (config({"unix:/run/x": {"pass": "applications/shop"}}), "server.bind", ["unix:/run/x"]),
        (config({"*:1": {"pass": "routes"}, "*:2": {"pass": "applications/other"}}), "server.bind", [":1"]),
        (config({"*:1": {"pass": "applications/shop", "backlog": 99}}), "server.backlog", 99),
    ],
)
def test_a_setting_becomes_a_key(tmp_path: Path, given: Any, key: str, value: object) -> None:
    assert imported(tmp_path, given).lines[key].value == value


def test_proxies(tmp_path: Path) -> None:
    forwarded = {"source": ["10.0.0.0/8", "!10.0.0.1", "unix"], "client_ip": "X-Real-IP", "recursive": True}
    draft = imported(tmp_path, config({"*:1": {"pass": "applications/shop", "forwarded": forwarded}}))
    assert draft.lines["proxy.trusted"].value == ["10.0.0.0/8", "unix"]
    assert draft.lines["proxy.client_field"].value == "X-Real-IP"
    assert "proxy.hops" not in draft.lines
    assert "!10.0.0.1" in dict(draft.remarks[Heading.TODO])["forwarded.source"]


def test_what_has_no_counterpart_is_said(tmp_path: Path) -> None:
    given = config({"*:1": {"pass": "routes", "tls": {"certificate": "x"}}}, isolation={"namespaces": {}})
    given["routes"] = {"main": [{"match": {"host": "a"}, "action": {"share": "/srv"}}, {"action": {"return": 404}}]}
    given["upstreams"] = {"u": {}}
    draft = imported(tmp_path, given)
    left_out = {name for name, _ in draft.remarks[Heading.LEFT_OUT]}
    assert left_out == {"routes: match", "routes: return", "upstreams", "isolation"}
    assert Heading.NOTHING not in draft.remarks
    assert {"routes: share", "tls of *:1, certificate x"} <= {name for name, _ in draft.remarks[Heading.TODO]}


def test_what_nobody_knows_is_said(tmp_path: Path) -> None:
    draft = imported(tmp_path, {**config(module_comment="x"), "certificates": {}})
    assert {name for name, _ in draft.remarks[Heading.UNKNOWN]} == {"module_comment", "certificates"}


@pytest.mark.parametrize(
    ("given", "which", "said"),
    [
        ("{", "", "it is not JSON"),
        ({}, "", 'has no "applications"'),
        ([], "", 'has no "applications"'),
        ({"applications": {"a": {"type": "php"}}}, "", "has no application of type python"),
        ({"applications": {"a": {"type": "php"}}}, "a", "'a' is of type php: miniwsgi serves Python"),
        ({"applications": {"a": SHOP, "b": SHOP}}, "", "has several applications: name one of a, b with --select"),
        ({"applications": {"a": SHOP}}, "c", "has no application 'c': it has a"),
        ({"applications": {"a": {"type": "python"}}}, "", 'the application has no "module"'),
    ],
)
def test_a_configuration_that_is_not_understood_says_why(tmp_path: Path, given: Any, which: str, said: str) -> None:
    with pytest.raises(ImportTrouble) as caught:
        imported(tmp_path, given, which)
    assert said in str(caught.value)


def test_an_address_whose_routes_lead_elsewhere_is_not_taken(tmp_path: Path) -> None:
    listeners = {f"*:{port}": {"pass": f"routes/{name}"} for port, name in ((1, "a"), (2, "b"), (3, "c"), (4, "d"))}
    draft = imported(tmp_path, {
        **config(listeners),
        "routes": {
            "a": [{"match": {"uri": "/x"}, "action": {"share": "/w", "fallback": {"pass": "applications/shop"}}}],
            "b": [{"action": {"pass": "applications/other"}}, {"action": {"pass": "routes/b"}}],
            "c": [{"action": {"pass": "routes/a"}}],
            "d": [{"action": {"return": 404}}],
        },
    })  # fmt: skip
    assert draft.lines["server.bind"].value == [":1", ":3"]


def test_what_holds_anyway_and_what_has_no_place_are_told(tmp_path: Path) -> None:
    forwarded = {"source": ["10.0.0.0/8"], "recursive": True}
    found = config({"*:1": {"pass": "applications/shop", "forwarded": forwarded}}, stdout="a.log", stderr="b.log")
    found["settings"]["js_module"] = "x"
    draft = imported(tmp_path, found)
    assert "forwarded.recursive" in dict(draft.remarks[Heading.BUILT_IN])
    assert "proxy.hops" not in draft.lines
    assert "settings.js_module" in dict(draft.remarks[Heading.LEFT_OUT])
    assert dict(draft.remarks[Heading.TODO])["stdout"].startswith("/srv/shop/a.log: stderr holds")
