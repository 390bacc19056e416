"""Where plain HTTP is redirected to, what is not, and where browsers are told to keep to HTTPS."""

from __future__ import annotations

from typing import Any

import pytest
from miniwsgi.daemon.engine.https_policy import HSTS, REDIRECT, HTTPSPolicy, https_policy
from miniwsgi.daemon.settings import Listener, Settings, Tls

YEAR = "max-age=31536000"


def application(environ, start_response):
    start_response("200 OK", [("X-Seen", " ".join(sorted(environ)))])
    return [b"."]


def ask(policy: Any = None, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    """The answer to a request; what is not said of it is as of GET / at shop.example."""
    told: list[Any] = []
    base = {"SERVER_NAME": "127.0.0.1", "HTTP_HOST": "shop.example", "PATH_INFO": "/", "REQUEST_URI": "/"}
    body = (policy or HTTPSPolicy(application))(
        {**base, "wsgi.url_scheme": "http", **environ}, lambda *answer: told.append(answer)
    )
    return told[0][0], dict(told[0][1]), b"".join(body)


@pytest.mark.parametrize(
    ("host", "target", "port", "expected"),
    [
        ("shop.example", "/", 443, "https://shop.example/"),
        ("shop.example:80", "/a/b?c=d&e=%20", 443, "https://shop.example/a/b?c=d&e=%20"),
        ("shop.example:8080", "/", 8443, "https://shop.example:8443/"),
        ("[2001:db8::1]:80", "/x", 443, "https://[2001:db8::1]/x"),
        ("[2001:db8::1]", "/x", 8443, "https://[2001:db8::1]:8443/x"),
        ("shop.example", "//other.example/", 443, "https://shop.example//other.example/"),
        ("shop.example", "http://other.example/a?b", 443, "https://shop.example/a?b"),
        ("shop.example", "http://other.example", 443, "https://shop.example/"),
        ("shop.example", "http://other.example?a", 443, "https://shop.example/?a"),
        ("shop.example", "/go?to=http://other.example/a", 443, "https://shop.example/go?to=http://other.example/a"),
        ("shop.example", "*", 443, "https://shop.example/"),
        ("", "/old", 443, "https://127.0.0.1/old"),
    ],
)
def test_the_url_is_the_same_but_for_scheme_and_port(host, target, port, expected):
    status, fields, body = ask(HTTP_HOST=host, REQUEST_URI=target, **{REDIRECT: port})
    assert status.startswith("308 ")
    assert fields["Location"] == expected
    assert fields["Content-Length"] == str(len(body))


def test_a_client_of_http_1_0_is_sent_to_the_servers_name():
    policy = HTTPSPolicy(application)
    told = []
    environ = {"SERVER_NAME": "shop.example", "PATH_INFO": "/", "REQUEST_URI": "/", "wsgi.url_scheme": "http"}
    policy({**environ, REDIRECT: 443}, lambda *answer: told.append(answer))
    assert dict(told[0][1])["Location"] == "https://shop.example/"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {REDIRECT: 443, "PATH_INFO": "/.well-known/acme-challenge/token"},
        {REDIRECT: 443, "wsgi.url_scheme": "https"},  # a trusted proxy has said so
    ],
    ids=["it is not wanted", "a challenge", "it came to the proxy by https"],
)
def test_what_is_not_redirected_is_the_applications(environ):
    status, fields, _body = ask(**environ)
    assert status == "200 OK"
    assert "miniwsgi" not in fields["X-Seen"]


def test_a_challenges_parent_is_redirected():
    assert ask(PATH_INFO="/.well-known/", **{REDIRECT: 443})[0].startswith("308")


@pytest.mark.parametrize(("scheme", "expected"), [("https", YEAR), ("http", None)])
def test_browsers_are_told_over_https_alone(scheme, expected):
    _status, fields, _body = ask(**{"wsgi.url_scheme": scheme, HSTS: YEAR})
    assert fields.get("Strict-Transport-Security") == expected
    assert "miniwsgi" not in fields["X-Seen"]


def test_the_applications_own_word_counts():
    def own(_environ, start_response):
        start_response("200 OK", [("strict-transport-security", "max-age=1")])
        return []

    _status, fields, _body = ask(HTTPSPolicy(own), **{"wsgi.url_scheme": "https", HSTS: YEAR})
    assert fields == {"strict-transport-security": "max-age=1"}


def test_start_response_is_as_it_was():
    """Its result, exc_info, and the list, which is the application's."""
    headers: list[tuple[str, str]] = []
    seen = []

    def own(_environ, start_response):
        return start_response("500 X", headers, "exc_info")

    def start(status, given, exc_info=None):
        seen.append((status, given, exc_info))
        return "write"

    policy = HTTPSPolicy(own)
    environ = {"wsgi.url_scheme": "https", HSTS: YEAR, "PATH_INFO": "/"}
    assert policy(environ, start) == "write"
    assert seen == [("500 X", [("Strict-Transport-Security", YEAR)], "exc_info")]
    assert headers == []


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, False), ({"tls": Tls(3)}, False), ({"tls": Tls(3, hsts=YEAR)}, True), ({"redirect": 443}, True)],
)
def test_workers_without_such_listeners_have_none_of_it(options, wanted):
    listener = Listener(0, "x", False, "x", "80", **options)
    settings = Settings(generation=1, listeners=(listener,), scoreboard_fd=-1, module="x", directory="/")
    assert (https_policy(application, settings) is not application) is wanted
