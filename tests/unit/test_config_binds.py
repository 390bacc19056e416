"""Entries of server.bind: a text or a table, its options, and what is said of mistakes in them."""

from __future__ import annotations

import json
import tomllib

import pytest
from miniwsgi.daemon.config import differences, load
from miniwsgi.daemon.config.binds import OPTIONS, Bind, BindEntry
from miniwsgi.daemon.config.effective import as_data, as_toml
from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.config.reference import reference

from .config_files import NAMED, Write, mistakes

TRUSTED = "[proxy]\ntrusted = '10.0.0.1'\n"
PROXIED = Bind(address=":81", proxy_protocol=True)


@pytest.mark.parametrize(
    ("entries", "meant"),
    [
        ("':80'", (Bind(address=":80"),)),
        ("{ address = ':80' }", (Bind(address=":80"),)),
        ("[':80', { address = ':81', proxy_protocol = true }]", (Bind(address=":80"), PROXIED)),
        ("{ address = ':80', protocol = 'http', proxy_protocol = false }", (Bind(address=":80"),)),
        ("'uwsgi:8000'", (Bind(address="uwsgi:8000"),)),
    ],
)
def test_a_text_or_a_table(write_config: Write, entries: str, meant: tuple[Bind, ...]) -> None:
    config = load(write_config(f"[server]\nbind = {entries}\n{TRUSTED}"), NAMED, {}, directory="/")
    assert config.server.bind == meant
    shown = tomllib.loads(as_toml(config))["server"]["bind"]
    assert load(None, {**NAMED, "server.bind": shown, "proxy.trusted": "10.0.0.1"}, {}).server.bind == meant
    assert json.loads(json.dumps(as_data(config)))["values"]["server"]["bind"] == shown


def test_a_path_in_a_table_starts_at_the_file(write_config: Write) -> None:
    path = write_config("[server]\nbind = [{ address = 'unix:x.sock' }]\n")
    (bind,) = load(path, NAMED, {}).server.bind
    assert bind.address == f"unix:{path.rpartition('/')[0]}/x.sock"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("uwsgi:/run/x", "unix:/run/x"),
        ("uwsgi:@x", "unix:@x"),
        ("uwsgi:unix:/run/x", "unix:/run/x"),
        ("uwsgi:127.0.0.1:3031", "127.0.0.1:3031"),
        ("uwsgi::3031", ":3031"),
    ],
)
def test_the_text_for_uwsgi(text: str, address: str) -> None:
    bind = BindEntry().parse(text, "/")
    assert bind == Bind(address=address, protocol="uwsgi")
    assert BindEntry().as_json(bind) == f"uwsgi:{address}"
    assert BindEntry().parse(BindEntry().as_json(bind), "/") == bind


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[{ address = 'x' }]", 'server.bind[0].address = "x": expected "HOST:PORT"'),
        ("[':80', { proxy_protocol = true }]", 'server.bind[1].address: expected "HOST:PORT"'),
        ("[{ address = ':80', proxy_protocol = 'on' }]", 'server.bind[0].proxy_protocol = "on": expected true or fal'),
        ("[{ address = ':80', proxy_protocl = true }]", "unknown key server.bind[0].proxy_protocl: did you mean pro"),
        ("[{ address = ':80', zzz = 1 }]", "unknown key server.bind[0].zzz: it has address, certificate, key, "),
        ("[{ address = ':80', protocol = 'h2' }]", 'server.bind[0].protocol = "h2": expected "http" | "uwsgi"'),
        ("[':80', { address = ':80', proxy_protocol = true }]", "expected each item once"),
        ("[':80', 80]", 'server.bind = 80: expected "HOST:PORT"'),
        (
            "[{ address = ':80', protocol = 'uwsgi', proxy_protocol = true }]",
            "server.bind[0].proxy_protocol = true: expected false: in uwsgi each packet says who the client is",
        ),
        ("'uwsgi://127.0.0.1:3031'", 'expected "uwsgi:HOST:PORT", "uwsgi:/path", or "uwsgi:" before another address'),
        ("'uwsgi:x.sock'", 'expected "uwsgi:HOST:PORT", "uwsgi:/path"'),
        ("'uwsgi:::1:3031'", 'expected an IPv6 address in brackets: "[::1]:8000"'),
        ("[[':80']]", 'server.bind = [":80"]: expected "HOST:PORT"'),
    ],
)
def test_mistakes_are_told_with_their_path(write_config: Write, entries: str, message: str) -> None:
    (told,) = mistakes(write_config(f"[server]\nbind = {entries}\n{TRUSTED}"), dict(NAMED))
    assert message in told


def test_all_mistakes_of_a_table_are_told(write_config: Write) -> None:
    told = mistakes(write_config("[server]\nbind = [{ adress = ':80', protocol = 1 }]\n"), dict(NAMED))
    assert [line.partition(" ")[0] if line.startswith("server") else line.split()[2] for line in told] == [
        "server.bind[0].adress:",
        "server.bind[0].protocol",
        "server.bind[0].address:",
    ]


def test_a_proxy_header_needs_proxies_to_trust(write_config: Write) -> None:
    path = write_config("[server]\nbind = [':80', { address = ':81', proxy_protocol = true }]\n")
    (told,) = mistakes(path, dict(NAMED))
    assert told.startswith("server.bind[1].proxy_protocol = true: expected the proxies that send the header in proxy.")


@pytest.mark.parametrize("trusted", ["", "[proxy]\ntrusted = 'unix'\n"])
@pytest.mark.parametrize("entry", ["'uwsgi:127.0.0.1:3031'", "{ address = '[::1]:3031', protocol = 'uwsgi' }"])
def test_uwsgi_over_tcp_needs_proxies_to_trust(write_config: Write, entry: str, trusted: str) -> None:
    (told,) = mistakes(write_config(f"[server]\nbind = [':80', {entry}]\n{trusted}"), dict(NAMED))
    assert told.startswith('server.bind[1].protocol = "uwsgi": expected the proxies that speak it in proxy.trusted, or')


@pytest.mark.parametrize("address", ["unix:/run/x", "unix:@x", "systemd:http", "fd:3"])
def test_uwsgi_needs_nobody_to_trust_where_it_may_be_a_unix_socket(write_config: Write, address: str) -> None:
    path = write_config(f"[server]\nbind = [{{ address = '{address}', protocol = 'uwsgi' }}]\n")
    assert load(path, NAMED, {}).server.bind == (Bind(address=address, protocol="uwsgi"),)


def test_other_options_are_a_change_that_a_reload_makes(write_config: Write) -> None:
    flags = {**NAMED, "proxy.trusted": "10.0.0.1"}
    old, new = (
        load(None, {**flags, "server.bind": [entry]}, {})
        for entry in (":81", {"address": ":81", "proxy_protocol": True})
    )
    assert differences(old, new) == ["server.bind"]
    assert KEYS["server.bind"].kind.show(new.server.bind) == '[{ address = ":81", proxy_protocol = true }]'


def test_the_reference_has_each_option() -> None:
    assert all(f"| `{name}` |" in reference() for name in OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"address"}))
def test_an_option_that_stands_in_the_section_is_shown_its_place(write_config: Write, name: str) -> None:
    (told,) = mistakes(write_config(f"[server]\n{name} = true\n"), dict(NAMED))
    assert told == f'unknown key server.{name}: it belongs to an entry of server.bind: {{ address = "…", {name} = … }}'
