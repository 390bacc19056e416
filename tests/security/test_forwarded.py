"""Forwarded fields: whatever a client sends, what its own proxy has added to it decides.

Tables of single fields: test_proxy_trust.py, tests/conformance/tables/trusted.py; behind real proxies: test_proxies.py
and test_smuggling.py.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from miniwsgi.daemon.engine.mount import Mount
from miniwsgi.daemon.engine.proxy import Names, Proxy
from miniwsgi.daemon.http.errors import ProtocolError

PROXY = "10.0.0.1"
CLIENT = "198.51.100.7"
ADDRESSES = [
    "203.0.113.66",
    "10.0.0.2",
    "::1",
    "[2001:db8::66]",
    "127.0.0.1",
    "unix:",
    "_hidden",
    "unknown",
    "::ffff:10.0.0.3",
]

# what a field line may hold (RFC 9110, section 5.5), and what means something here more often than chance has it
PIECES = st.one_of(
    st.sampled_from(
        [",", ";", '"', "\\", "=", " ", "\t", "for=", "For=", "proto=https", "by=", "host=", 'for="', *ADDRESSES]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=4),
)
SAID = st.lists(PIECES, max_size=12).map("".join)


def seen(proxy: Proxy, **fields: str) -> tuple[str, str]:
    environ: dict[str, Any] = {"REMOTE_ADDR": PROXY, "REMOTE_PORT": "1", "wsgi.url_scheme": "http", **fields}
    proxy.apply(environ)
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]


@given(SAID)
@example("https")
@example("https, https")
def test_in_front_of_what_the_proxy_adds_a_client_may_say_what_it_likes(said: str) -> None:
    trusting = Proxy((PROXY, "10.0.0.0/8"))
    assert seen(trusting, HTTP_X_FORWARDED_FOR=f"{said}, {CLIENT}")[0] == CLIENT
    assert seen(trusting, HTTP_X_FORWARDED_FOR=f"{said}, {CLIENT}", HTTP_X_FORWARDED_PROTO=f"{said}, http") == (
        CLIENT,
        "http",
    )


@pytest.mark.parametrize(
    "added",
    [
        f"for={CLIENT}",
        f"for={CLIENT};proto=http",
        f'for="{CLIENT}:4711";by="_x"',
        f'by="_x";for="{CLIENT}"',
        f'proto=http;host="a";for="{CLIENT}"',
    ],
)
@given(said=SAID)
def test_in_front_of_what_the_proxy_adds_to_forwarded_too(added: str, said: str) -> None:
    """A quotation that it has begun may make nonsense of the proxy's words: then nobody's count, and never its own."""
    address, scheme = seen(Proxy(("10.0.0.0/8",), forwarded=True), HTTP_FORWARDED=f"{said}, {added}")
    assert address in {CLIENT, PROXY}
    assert scheme == "http"


URL = Names(host="X-Forwarded-Host", port="X-Forwarded-Port", prefix="X-Forwarded-Prefix")
URL_FIELDS = ("HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PREFIX")


def told(proxy: Proxy, *values: str) -> tuple[str, ...] | None:
    """Host, port and prefix that the application is told; None: the request is refused."""
    environ: dict[str, Any] = {"REMOTE_ADDR": PROXY, "wsgi.url_scheme": "http", "HTTP_HOST": "a", "SERVER_PORT": "80"}
    environ |= dict(zip(URL_FIELDS, values, strict=True))
    try:
        proxy.check(environ)
    except ProtocolError:
        return None
    proxy.apply(environ)
    Mount().split(environ, "/path", proxy)
    return environ["HTTP_HOST"], environ["SERVER_PORT"], environ["SCRIPT_NAME"]


@given(SAID, st.sampled_from([0, 1, 2]))
def test_a_url_is_the_proxys_whatever_is_in_front_of_it(said: str, hops: int) -> None:
    added = ("shop.example", "81", "/p")
    behind = ("inner", "82", "/inner")[: 3 * (hops - 1)] if hops else ()
    values = [", ".join([said, one, *behind[at : at + 1]]) for at, one in enumerate(added)]
    proxy = Proxy(("10.0.0.0/8",), hops=hops, names=URL)
    assert told(proxy, *values) == ("shop.example:81", "81", "/p")


@given(SAID, SAID, SAID)
@example("a", "1", "/%2e%2e")
@example("a", "1", "/a%0d%0ab")
def test_whatever_is_told_is_a_url(host: str, port: str, prefix: str) -> None:
    found = told(Proxy((PROXY,), names=URL), host, port, prefix)
    if found is not None:
        assert re.fullmatch(r"(?:[\w.~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?", found[0], re.ASCII)
        assert re.fullmatch(r"[1-9][0-9]{0,4}", found[1], re.ASCII)
        assert re.fullmatch(r"(?:/[^/\x00-\x1f\x7f\\]+)*", found[2])
        assert not {".", ".."} & set(found[2].split("/"))


@given(SAID)
def test_nobody_is_trusted_by_default(said: str) -> None:
    """Loopback and Unix sockets are not either; and what is no address is nobody's."""
    assert not Proxy(()).trusts(said)
    assert not any(map(Proxy(()).trusts, ("127.0.0.1", "::1", "")))
    assert not Proxy(("0.0.0.0/0", "::/0")).trusts(f"{said}.")


@given(SAID, SAID)
def test_fields_of_the_other_kind_are_not_read(said: str, other: str) -> None:
    assert seen(Proxy((PROXY,)), HTTP_FORWARDED=said, HTTP_X_REAL_IP=other, HTTP_CLIENT_IP=other) == (PROXY, "http")
    fields = {"HTTP_X_FORWARDED_FOR": said, "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": other}
    assert seen(Proxy((PROXY,), forwarded=True), **fields) == (PROXY, "http")
