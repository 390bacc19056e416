"""Who may ask the metrics port for what: addresses, the token, names on loopback."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network

import pytest
from miniwsgi.manager.http.exchange import Ends, HttpRefusal, PeerCredentials, Request
from miniwsgi.manager.port.gate import Gate, Rules

TOKEN = "a-token"
UNIX = PeerCredentials(1, 1, 1)


def request(client: str = "127.0.0.1", server: str = "127.0.0.1", **fields: str) -> Request:
    ends = Ends(ip_address(client), ip_address(server)) if client else None
    return Request("GET", "/metrics", "", fields, b"", None if client else UNIX, ends)


def verdict(rules: Rules, asked: Request) -> int:
    """The status that the gate gives: 200 for whoever passes. Each refusal is a line for the log."""
    denied: list[str] = []
    gate = Gate(rules, denied.append)
    try:
        gate.check_address(asked)
        gate.check_reader(asked)
    except HttpRefusal as refused:
        refusal = refused
    else:
        assert denied == []
        return 200
    assert len(denied) == 1
    why, _, code = refusal.detail.rpartition(" ")
    assert (why in denied[0], code) == (True, "(MW6102)")
    assert TOKEN not in denied[0] + refusal.detail
    return refusal.status


# --- addresses -----------------------------------------------------------------------------------------------------

LISTED = Rules(allow=(ip_network("10.1.0.0/16"), ip_network("2001:db8::7")))


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.2.3", 200),
        ("10.2.2.3", 403),
        ("2001:db8::7", 200),
        ("2001:db8::8", 403),
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("fe80::1%eth0", 403),
        ("", 200),  # a Unix socket
    ],
)
def test_a_list_lets_in_what_it_has_and_loopback_and_unix(client: str, status: int) -> None:
    assert verdict(LISTED, request(client, "10.1.0.1")) == status
    assert verdict(Rules(), request(client, "10.1.0.1")) == 200


def test_a_client_whose_address_is_not_known_is_not_on_the_list() -> None:
    assert verdict(LISTED, Request("GET", "/livez", "", {}, b"")) == 403


# --- the token -----------------------------------------------------------------------------------------------------


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer   {TOKEN} ", 200),
        (basic(f"anybody:{TOKEN}"), 200),
        (basic(f":{TOKEN}"), 200),
        ("", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN} {TOKEN}", 401),
        ("Bearer é€", 401),
        (f"Digest {TOKEN}", 401),
        (basic(TOKEN), 401),
        (basic(f"{TOKEN}:"), 401),
        ("Basic !!!", 401),
        ("Basic é", 401),
    ],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "10.1.2.3", ""])
def test_the_token_is_asked_of_everybody(client: str, authorization: str, status: int) -> None:
    asked = request(client, client or "127.0.0.1", HTTP_AUTHORIZATION=authorization, HTTP_HOST="localhost")
    assert verdict(Rules(token=TOKEN), asked) == status
    assert verdict(Rules(), asked) == 200


def test_a_refusal_tells_browsers_and_programs_how_to_bring_it() -> None:
    with pytest.raises(HttpRefusal) as refused:
        Gate(Rules(token=TOKEN), lambda _line: None).check_reader(request())
    assert [name for name, _ in refused.value.fields] == ["WWW-Authenticate"] * 2
    assert [value.split(" ")[0] for _, value in refused.value.fields] == ["Bearer", "Basic"]


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(Rules(token=TOKEN))


# --- names on loopback ---------------------------------------------------------------------------------------------

NAMED = Rules(names=frozenset({"shop.internal"}))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:9464", 200),
        ("192.168.1.1:80", 200),
        ("localhost:9464", 200),
        ("LocalHost.", 200),
        ("shop.localhost:9464", 200),
        ("Shop.Internal:9464", 200),
        ("", 200),  # HTTP/1.0, and no browser
        ("evil.example", 421),
        ("evil.example:9464", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("notlocalhost", 421),
        ("[evil.example]", 421),
        ("a:b:c", 421),
    ],
)
def test_on_loopback_a_name_must_be_ours(host: str, status: int) -> None:
    for server in ("127.0.0.1", "127.3.2.1", "::1"):
        assert verdict(NAMED, request("127.0.0.1", server, HTTP_HOST=host)) == status


@pytest.mark.parametrize("host", ["metrics.shop.svc.cluster.local", "shop:9464", "10.1.2.3:9464"])
def test_elsewhere_and_with_a_token_any_name_will_do(host: str) -> None:
    assert verdict(NAMED, request("10.1.2.3", "10.1.0.1", HTTP_HOST=host)) == 200
    assert verdict(NAMED, request("", HTTP_HOST=host)) == 200
    given = request(HTTP_HOST=host, HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
    assert verdict(Rules(token=TOKEN), given) == 200
