"""metrics.routes: what may be said, and which route a path has by patterns."""

from __future__ import annotations

from typing import Any

import pytest
from miniwsgi.daemon.config.configuration import load
from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.config.problems import ConfigError
from miniwsgi.daemon.routes.choice import route_of_running, routed
from miniwsgi.daemon.routes.patterns import Patterns
from miniwsgi.daemon.routes.variables import ROUTE

PATTERNS = ("/", "/orders/*", "/orders/*/lines", "/static/**", "/{}/list", "/a/{}/**")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/orders/7", "/orders/*"),
        ("/orders/", None),
        ("/orders", None),
        ("/orders/7/lines", "/orders/*/lines"),
        ("/orders/7/lines/3", None),
        ("/static", "/static/**"),
        ("/static/", "/static/**"),
        ("/static/a/b/c", "/static/**"),
        ("/users/list", "/users/list"),
        ("//list", None),
        ("/a/b", "/a/b/**"),
        ("/a/b/c/d", "/a/b/**"),
        ("/a//c", None),
        ("/a/\xc3\xa4/c", "/a/ä/**"),  # PEP 3333: bytes as latin-1
        ("/a/\xff", "/a/\ufffd/**"),
        ("/orders/*", "/orders/*"),
        ("", None),
        ("/static" + "/x" * 5000, "/static/**"),
        ("*", None),
    ],
)
def test_the_first_pattern_that_fits_is_the_route(path: str, route: str | None) -> None:
    assert Patterns(PATTERNS)({"PATH_INFO": path}, None) == route


def test_a_prefix_is_part_of_the_path() -> None:
    assert Patterns(["/eu/orders/*"])({"SCRIPT_NAME": "/eu", "PATH_INFO": "/orders/7"}, None) == "/eu/orders/*"


# --- the setting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "routes", "shown"),
    [
        ("auto", ("auto",), '"auto"'),
        ("off", (), '"off"'),
        (False, (), '"off"'),
        (["/a/*"], ("/a/*",), '["/a/*"]'),
        ("/a/*, /b/**", ("/a/*", "/b/**"), '["/a/*", "/b/**"]'),
        (["auto", "/{}/**"], ("auto", "/{}/**"), '["auto", "/{}/**"]'),
    ],
)
def test_the_setting_is_a_word_or_patterns(value: Any, routes: tuple[str, ...], shown: str) -> None:
    config = load(None, {"app.module": "x", "metrics.routes": value}, {})
    assert config.metrics.routes == routes
    assert KEYS["metrics.routes"].kind.show(routes) == shown


def test_a_text_from_the_environment_has_commas() -> None:
    config = load(None, {"app.module": "x"}, {"MINIWSGI_METRICS_ROUTES": "auto,/a/*"})
    assert config.metrics.routes == ("auto", "/a/*")


@pytest.mark.parametrize(
    "value",
    [
        "orders/*", "/a*", "/a/**/b", "/<id>{}", "/a?b", "/\x1b", "/{x}", "/" + "a/" * 32, ["auto", "off"], 7,
        ["/a", "/a"], "always",
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_what_is(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"app.module": "x", "metrics.routes": value}, {})
    assert "metrics.routes" in str(caught.value)
    assert '"auto"' in str(caught.value) or "each item once" in str(caught.value)


# --- both ------------------------------------------------------------------------------------------------------------


def answering(status: str) -> Any:
    def application(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    return application


def call(application: Any, path: str) -> Any:
    environ: dict[str, Any] = {"PATH_INFO": path}
    application(environ, lambda *_: None)
    return environ.get(ROUTE)


def test_off_leaves_the_application_alone() -> None:
    application = answering("200 OK")
    assert routed(application, ()) is application
    assert route_of_running({"PATH_INFO": "/a/b"}, None) is None


def test_paths_that_are_not_there_make_no_routes() -> None:
    assert call(routed(answering("200 OK"), ("/{}/**",)), "/orders/7") == "/orders/**"
    assert call(routed(answering("404 Not Found"), ("/{}/**",)), "/wp-login/7") == ""


def test_what_still_runs_has_a_route_by_its_path() -> None:
    routed(answering("200 OK"), ("/{}/**",))
    assert route_of_running({"PATH_INFO": "/orders/7"}, None) == "/orders/**"
    routed(answering("200 OK"), ())
