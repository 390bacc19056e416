"""Whose word about the client counts, and how much of it (RFC 7239 and the X-Forwarded-* fields)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.daemon.engine.proxy import Proxy

PEER = "10.0.0.1"
TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48")


def applied(trusted=TRUSTED, forwarded=False, peer=PEER, **fields):
    """REMOTE_ADDR, REMOTE_PORT and the scheme after the word of a trusted peer."""
    environ = {"REMOTE_ADDR": peer, "REMOTE_PORT": "1234", "wsgi.url_scheme": "http", "HTTP_HOST": "a", **fields}
    Proxy(trusted, forwarded=forwarded).apply(environ)
    assert {key: environ[key] for key in fields} == fields
    assert environ["HTTP_HOST"] == "a"
    assert environ.pop("HTTPS", "off") == ("on" if environ["wsgi.url_scheme"] == "https" else "off")
    assert set(environ) == {"REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTP_HOST", *fields}
    changed = environ["REMOTE_ADDR"] != peer
    assert environ["REMOTE_PORT"] == ("" if changed else environ["REMOTE_PORT"])
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]


def client(value, **options):
    return applied(HTTP_X_FORWARDED_FOR=value, **options)[0]


def forwarded(value, **options):
    return applied(forwarded=True, HTTP_FORWARDED=value, **options)


# --- who is trusted ---


@pytest.mark.parametrize(
    ("trusted", "address", "expected"),
    [
        ((), "127.0.0.1", False),
        ((), "", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("127.0.0.1",), "127.0.0.2", False),
        (("127.0.0.1",), "", False),
        (("10.0.0.0/8",), "10.255.0.1", True),
        (("10.1.2.3/8",), "10.255.0.1", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("::1",), "::1", True),
        (("::1",), "0:0:0:0:0:0:0:1", True),
        (("::1",), "127.0.0.1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("2001:db8::/32",), "2001:db9::1", False),
        (("unix",), "", True),
        (("unix",), "127.0.0.1", False),
        (("*",), "", True),
        (("*",), "192.0.2.1", True),
        (("10.0.0.1", "unix"), "", True),
        (("10.0.0.1",), "10.0.0.1, 6.6.6.6", False),
        (("10.0.0.1",), "nonsense", False),
    ],
)
def test_trust(trusted, address, expected):
    assert Proxy(trusted).trusts(address) is expected


@pytest.mark.parametrize("name", ["example.org", "10.0.0.0/33", "", "1.2.3", "[::1]"])
def test_unknown_names_are_an_error(name):
    with pytest.raises(ValueError, match=r"does not appear to be|has host bits|."):
        Proxy((name,))


# --- X-Forwarded-For ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        # the nearest that is not trusted is the client, whatever it says of others
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6,192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 2001:db8:ffff::1, 10.1.2.3", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1:80, 10.1.2.3:81", "192.0.2.1"),
        ("10.9.9.9, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("::ffff:10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("6.6.6.6, , 192.0.2.1,", "192.0.2.1"),
        # garbage: as far as it can be followed
        ("", PEER), (",", PEER), (" , ", PEER), ("unknown", PEER), ("<script>", PEER), ("6.6.6.6, unknown", PEER),
        ("6.6.6.6, garbage, 10.1.2.3", "10.1.2.3"), ("6.6.6.6 192.0.2.1", PEER), ("192.0.2", PEER),
        ("192.0.2.256", PEER), ("192.0.02.1", PEER), ("192.0.2.1:x", PEER), ("192.0.2.1:", PEER),
        ("192.0.2.1:999999", PEER),
        ("[192.0.2.1", PEER), ("[2001:db8::1", PEER), ("[2001:db8::1]x", PEER), ("[2001:db8::1]:x", PEER), ("[]", PEER),
        ("2001:db8::1]", PEER), ("fe80::1%eth0", PEER), ("fe80::1%<script>", PEER), ("192.0.2.1/24", PEER),
        ("0xc0000201", PEER), ("3221225985", PEER), ("\xb2.0.2.1", PEER), ("for=192.0.2.1", PEER),
        ('"192.0.2.1"', PEER),
    ],
)  # fmt: skip
def test_x_forwarded_for(value, expected):
    assert client(value) == expected


def test_everyone_trusted_is_the_farthest():
    assert client("192.0.2.1, 192.0.2.2", trusted=("*",)) == "192.0.2.1"


def test_a_unix_socket_peer_adds_its_client_last():
    assert client("6.6.6.6, 192.0.2.1", trusted=("unix",), peer="") == "192.0.2.1"


@given(st.text([chr(c) for c in range(0x20, 0x100)], max_size=30))
def test_any_text_leaves_an_address(value):
    allowed = set("0123456789abcdef.:")
    assert set(client(value)) <= allowed
    assert set(client("6.6.6.6, " + value + ", 192.0.2.1")) <= allowed
    assert client(value + ", 192.0.2.1") == "192.0.2.1"
    assert set(forwarded(value)[0]) <= allowed
    assert set(forwarded("for=" + value)[0]) <= allowed


# --- X-Forwarded-Proto ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [("https", "https"), ("HTTPS", "https"), (" https ", "https"), ("http", "http"), ("http, https", "https"),
     ("https, http", "http"), ("https,", "http"), ("", "http"), ("javascript", "http"), ("https://", "http"),
     ("on", "https"), ("off", "http"), ("wss", "https"), ("1", "http")],
)  # fmt: skip
def test_x_forwarded_proto(value, expected):
    assert applied(HTTP_X_FORWARDED_PROTO=value) == (PEER, expected)


def test_no_field_changes_nothing():
    assert applied() == applied(forwarded=True) == (PEER, "http")


def test_only_what_the_proxy_sets_counts():
    """It passes the other field through as the client sent it."""
    assert applied(HTTP_FORWARDED="for=6.6.6.6;proto=https") == (PEER, "http")
    assert applied(forwarded=True, HTTP_X_FORWARDED_FOR="6.6.6.6", HTTP_X_FORWARDED_PROTO="https") == (PEER, "http")


# --- Forwarded ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1;proto=https", ("192.0.2.1", "https")),
        ("For=192.0.2.1;Proto=HTTPS", ("192.0.2.1", "https")),
        ("proto=https;by=10.0.0.1;for=192.0.2.1", ("192.0.2.1", "https")),
        ("for=192.0.2.1 ; proto=https ;", ("192.0.2.1", "https")),
        ('for="192.0.2.1:4711"', ("192.0.2.1", "http")),
        ('for="[2001:db8::1]:4711"', ("2001:db8::1", "http")),
        ('for="[2001:db8::1]"', ("2001:db8::1", "http")),
        ('for="192.0.2.1:_obfuscated"', ("192.0.2.1", "http")),
        ("for=192.0.2.1:4711", ("192.0.2.1", "http")),
        ("for=6.6.6.6, for=192.0.2.1", ("192.0.2.1", "http")),
        ("for=6.6.6.6, for=192.0.2.1, for=10.1.2.3;proto=https", ("192.0.2.1", "https")),
        ("for=6.6.6.6;proto=https, for=192.0.2.1;proto=http", ("192.0.2.1", "http")),
        ("for=6.6.6.6;proto=https, for=192.0.2.1", ("192.0.2.1", "http")),
        (" , for=192.0.2.1;proto=https, ", ("192.0.2.1", "https")),
        ('for=192.0.2.1;host="a;proto=https"', ("192.0.2.1", "http")),
        ('for=192.0.2.1;host="a,for=6.6.6.6";proto=https', ("192.0.2.1", "https")),
        (r'for=192.0.2.1;host="a\";proto=https"', ("192.0.2.1", "http")),
        # nothing is known of a hop that does not say
        ("for=6.6.6.6, proto=https", (PEER, "https")),
        ("for=_hidden", (PEER, "http")),
        ("for=unknown;proto=https", (PEER, "https")),
        ("for=6.6.6.6, for=unknown", (PEER, "http")),
        ('for=""', (PEER, "http")),
        ("for=", (PEER, "http")),
        # not well-formed: nothing is taken from it
        ('for=6.6.6.6;x=", for=192.0.2.1;host="a"', (PEER, "http")),
        ('for="6.6.6.6, for=192.0.2.1', (PEER, "http")),
        ("for=192.0.2.1;for=6.6.6.6", (PEER, "http")),
        ("for=192.0.2.1;FOR=6.6.6.6;proto=https", (PEER, "http")),
        ("for=192.0.2.1 6.6.6.6", (PEER, "http")),
        ('for="192.0.2.1"x', (PEER, "http")),
        ("for 192.0.2.1", (PEER, "http")),
        ("=192.0.2.1;proto=https", (PEER, "http")),
        ("", (PEER, "http")),
        (" , ;", (PEER, "http")),
    ],
)
def test_forwarded(value, expected):
    assert forwarded(value) == expected


@pytest.mark.parametrize("value", [" ", "a", "a=", '"', "a=b;", ";", ","])
def test_long_fields_take_no_time(value):
    """With a quadratic parser this takes minutes."""
    forwarded(value * 100_000)
    client(value * 100_000)
