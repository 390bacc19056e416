"""[proxy] in the configuration: what follows of whom it trusts, and what it warns of."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.config.configuration import load
from miniwsgi.daemon.config.problems import ConfigError


@pytest.mark.parametrize(
    ("text", "hops", "told"),
    [
        ("", 0, ""),
        ("trusted = ['10.0.0.0/8', 'unix']", 0, ""),
        ("trusted = ['10.0.0.0/8']\nhops = 2", 2, ""),
        ("trusted = '*'", 1, "nobody but the proxies may reach server.bind"),
        ("trusted = ['unix', '*']\nhops = 3", 3, "nobody but the proxies may reach server.bind"),
        ("trusted = '*'\nhops = 'off'", 0, "set proxy.hops to the number of proxies"),
        ("trusted = ['0.0.0.0/0', '::/0']", 0, "set proxy.hops to the number of proxies"),
    ],
)
def test_whoever_trusts_everybody_counts_or_is_warned(text: str, hops: int, told: str) -> None:
    config = load(None, {"app.module": "x"}, {}, f"[proxy]\n{text}")
    assert config.proxy.hops == hops
    assert len(config.notes) == bool(told)
    assert told in "".join(map(str, config.notes))


def test_the_platform_may_say_everybody() -> None:
    config = load(None, {"app.module": "x"}, {"FORWARDED_ALLOW_IPS": "*"})
    assert (config.proxy.trusted, config.proxy.hops, len(config.notes)) == (("*",), 1, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("host_field = 'X Forwarded Host'", "the name of a header field"),
        ("scheme_field = 'X_Forwarded_Proto'", "without underscores (a field with one is dropped)"),
        ("host_field = 'forwarded'", 'proxy.fields = "forwarded", or the name of another field'),
        ("hops = 33", 'a whole number from 1 to 32, or "off"'),
        ("trusted = ['**']", 'an IP address, a network such as "10.0.0.0/8", "unix" or "*"'),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"app.module": "x"}, {}, f"[proxy]\n{text}")
    assert told in str(caught.value)


def test_forwarded_names_the_host_where_it_is_read() -> None:
    config = load(None, {"app.module": "x"}, {}, "[proxy]\nfields = 'forwarded'\nhost_field = 'Forwarded'")
    assert config.proxy.host_field == "Forwarded"
