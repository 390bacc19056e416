"""Configurations: what takes time is done before one comes into force."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.master.running.configurations import (
    Configurations,
    PreparedConfig,
    addresses,
    socket_options,
)
from miniwsgi.daemon.master.running.reload_on_change import watched
from miniwsgi.daemon.master.sockets.listeners import BindError, open_listeners


def config(tmp_path: Path, **server: str) -> Config:
    values = {"app.module": "shop", "server.bind": f"unix:{tmp_path}/s", "metrics.bind": "off"}
    return load(None, values | {f"server.{key}": value for key, value in server.items()}, {}, directory="/")


def test_names_are_looked_up_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = grp.getgrgid(os.getegid()).gr_name
    first, second = config(tmp_path), config(tmp_path, socket_group=own, socket_mode="0600")
    listeners = open_listeners(addresses(first), socket_options(first))
    configurations = Configurations(PreparedConfig.of(first, listeners, {}), lambda: second, {}, {})

    def hang(name: str) -> NoReturn:
        raise AssertionError(f"{name} is looked up on the master's loop")

    try:
        configurations.hold(2, configurations.read())
        monkeypatch.setattr(grp, "getgrnam", hang)
        assert configurations.commit(2)() == []
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    finally:
        configurations.close()


def test_changes_beside_a_file_from_elsewhere_call_for_a_reload_too(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "work").mkdir()
    for module, more in (("shop:app", ()), ("./code/shop.py:app", (f"{tmp_path}/code",)), ("./work/x.py", ())):
        flags = {"app.module": module, "app.directory": "work"}
        config = load(None, flags, {}, directory=str(tmp_path))
        assert watched(config) == (f"{tmp_path}/work", *more)


def test_a_reload_with_other_options_keeps_the_socket(tmp_path: Path) -> None:
    first = config(tmp_path)
    entry = {"address": f"unix:{tmp_path}/s", "proxy_protocol": True}
    flags = {"app.module": "shop", "server.bind": entry, "proxy.trusted": "unix", "metrics.bind": "off"}
    listeners = open_listeners(addresses(first), socket_options(first))
    configurations = Configurations(
        PreparedConfig.of(first, listeners, {}), lambda _text=None: load(None, flags, {}, directory="/"), {}, {}
    )
    try:
        configurations.hold(2, configurations.read())
        ((old, plain),) = configurations.in_force.served
        ((kept, proxied),) = configurations.of(2).served
        assert kept is old
        assert (old.for_workers(plain).proxy_protocol, kept.for_workers(proxied).proxy_protocol) == (False, True)
    finally:
        configurations.close()


@pytest.mark.parametrize("proxied", ["[::]:80", "0.0.0.0:80"])
def test_one_socket_has_the_options_of_one_entry(proxied: str) -> None:
    """The socket of "[::]" serves IPv4 too, is kept, and the reload adds the IPv4 address with other options."""
    entries = [{"address": address, "proxy_protocol": address == proxied} for address in ("[::]:80", "0.0.0.0:80")]
    flags = {"app.module": "shop", "server.bind": entries, "proxy.trusted": "10.0.0.1"}
    kept: Any = SimpleNamespace(name="[::]:80", file=None)
    with pytest.raises(BindError, match=r"cannot listen on 0.0.0.0:80: a socket .* other options; it needs a restart"):
        PreparedConfig.of(load(None, flags, {}, directory="/"), [kept], {})
    alike = [{**entry, "proxy_protocol": True} for entry in entries]
    PreparedConfig.of(load(None, flags | {"server.bind": alike}, {}, directory="/"), [kept], {})
