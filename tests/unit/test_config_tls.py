"""Options of TLS in server.bind: what they mean, and what is said of those that do not go together."""

from __future__ import annotations

import tomllib

import pytest
from miniwsgi.daemon.config import ConfigError, load
from miniwsgi.daemon.config.binds import Bind
from miniwsgi.daemon.config.effective import as_toml
from miniwsgi.daemon.config.keys import KEYS

from .config_files import NAMED, Write, mistakes

FULL = {
    "address": ":443",
    "certificate": ["/etc/a.pem", "credential:b"],
    "key": ["/etc/a.key", "credential:b.key"],
    "client_ca": "/etc/ca.pem",
    "client": "optional",
    "tls_minimum": "1.3",
    "ciphers": "ECDHE+AESGCM",
    "hsts": "max-age=63072000; includeSubDomains; preload",
}


def bind(**options: object) -> Bind:
    (found,) = load(None, {**NAMED, "server.bind": [{"address": ":443", **options}]}, {}).server.bind
    assert isinstance(found, Bind)
    return found


def test_each_option_is_read_shown_and_read_again() -> None:
    config = load(None, {**NAMED, "server.bind": [FULL]}, {})
    shown = tomllib.loads(as_toml(config))["server"]["bind"]
    assert shown == [FULL]
    assert KEYS["server.bind"].kind.as_json(config.server.bind) == shown


def test_one_file_a_list_and_a_combined_file() -> None:
    assert bind(certificate="/a.pem", key="/a.key").pairs == (("/a.pem", "/a.key"),)
    assert bind(certificate="/a.pem").pairs == (("/a.pem", "/a.pem"),)
    two = bind(certificate=["/a.pem", "/b.pem"])
    assert two.pairs == (("/a.pem", "/a.pem"), ("/b.pem", "/b.pem"))
    assert two.files == ("/a.pem", "/b.pem")


def test_a_path_starts_at_the_file_and_a_credential_nowhere(write_config: Write) -> None:
    entry = "{ address = ':443', certificate = 'tls/a.pem', key = 'credential:a.key' }"
    path = write_config(f"[server]\nbind = [{entry}]\n")
    (found,) = load(path, NAMED, {}).server.bind
    assert found.pairs == ((f"{path.rpartition('/')[0]}/tls/a.pem", "credential:a.key"),)


def test_a_flag_and_a_variable_take_a_table_as_it_is_written_in_toml() -> None:
    text = "{ address = ':443', certificate = ['/a.pem', '/b.pem'] }"
    meant = (Bind(address=":443", certificate=("/a.pem", "/b.pem")),)
    assert load(None, {**NAMED, "server.bind": [text]}, {}).server.bind == meant
    assert load(None, NAMED, {"MINIWSGI_SERVER_BIND": text}).server.bind == meant
    assert load(None, NAMED, {"MINIWSGI_METRICS_BIND": text}).metrics.bind.address == ":443"
    for wrong in ("{ address = ':443' ", "{ address = ':443' } x", "{} \n y = 1", "{ adress = ':1' }"):
        with pytest.raises(ConfigError):
            load(None, NAMED, {"MINIWSGI_SERVER_BIND": wrong})


def test_the_scheme_and_the_redirect() -> None:
    assert bind(certificate="/a.pem").scheme == "https"
    assert bind().scheme == "http"
    assert [bind(redirect=word).redirect_port for word in ("https", "https:8443", "off")] == [443, 8443, 0]


MISTAKES = {
    "fewer keys": (
        "certificate = ['/a', '/b'], key = '/k'",
        '.key = ["/k"]: expected as many files as certificate',
    ),
    "a key alone": ("key = '/k'", '.key = ["/k"]: expected a certificate beside it'),
    "authorities alone": (
        "certificate = '/a', client_ca = '/c'",
        '.client = "none": expected "optional" or "required"',
    ),
    "nobody to judge": ("certificate = '/a', client = 'required'", '.client_ca = "": expected the authorities'),
    "no certificate": ("tls_minimum = '1.3'", '.tls_minimum = "1.3": expected a certificate beside it'),
    "HSTS without TLS": ("hsts = 'max-age=1'", '.hsts = "max-age=1": expected a certificate beside it: over plain'),
    "HSTS without an age": ("certificate = '/a', hsts = 'preload'", '.hsts = "preload": expected a value such as'),
    "a redirect of TLS": ("certificate = '/a', redirect = 'https'", '.redirect = "https": expected off'),
    "a redirect elsewhere": ("redirect = 'http'", '.redirect = "http": expected "https", or "https:8443"'),
    "a port beyond": ("redirect = 'https:70000'", '.redirect = "https:70000": expected a port from 1 to 65535'),
    "an old version": ("certificate = '/a', tls_minimum = '1.1'", '.tls_minimum = "1.1": expected "1.2" | "1.3"'),
    "no ciphers": ("certificate = '/a', ciphers = 'what'", '.ciphers = "what": expected a list of ciphers'),
    "a bad credential": (
        "certificate = 'credential:../x'",
        '.certificate = "credential:../x": expected the path',
    ),
    "no file": ("certificate = 5", ".certificate = 5: expected the path of a PEM file"),
    "a near miss": ("certificat = '/a'", ".certificat: did you mean certificate?"),
}


@pytest.mark.parametrize(("options", "said"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_go_together_is_told_with_its_path(write_config: Write, options: str, said: str) -> None:
    told = mistakes(write_config(f"[server]\nbind = [{{ address = ':443', {options} }}]\n"), dict(NAMED))
    assert any(f"server.bind[0]{said}" in line for line in told), told
