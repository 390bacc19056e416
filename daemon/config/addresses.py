"""The kinds of configuration values that carry a meaning: what to serve, where to listen, whom to trust, who to be.

As in `kinds`: `parse` raises MismatchError, saying what was expected. Names of hosts are not looked up.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import re

from ..target import absolute
from .kinds import Kind, MismatchError, is_off, quoted

ANYWHERE = "*"  # each peer, whatever its address


class Served(Kind[str]):
    """What to serve. What is wrong with its words is said by whoever imports it (target.Target)."""

    def __init__(self, what: str, function: str) -> None:
        self.expected = f'{what}, as "package.module:{function}" or "./file.py:{function}"'

    def parse(self, value: object, base: str) -> str:
        if not isinstance(value, str) or re.search(r"[\x00-\x1f\x7f]", value):
            raise MismatchError(self.expected)
        name = value.partition("(")[0]
        if re.search(r"\s", name) and "/" not in name:  # a path and the arguments of a call may have blanks
            raise MismatchError(self.expected)
        return absolute(value, base)


class Address(Kind[str]):
    """Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:/path, unix:@abstract, fd:N, systemd:NAME."""

    name = "address"
    plural = "addresses"
    expected = '"HOST:PORT", ":PORT", "[IPV6]:PORT", "unix:/path", "unix:@name", "fd:N" or "systemd:NAME"'

    def __init__(self, off: bool = False) -> None:
        self._off = off
        if off:
            self.expected = f'{Address.expected}, or "off"'

    def accepts(self) -> str:
        return "or off" if self._off else ""

    def show(self, value: str) -> str:
        return '"off"' if self._off and not value else quoted(value)

    def parse(self, value: object, base: str) -> str:
        if self._off and is_off(value):
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            raise MismatchError(f'{self.expected} (for port {value} on every address: ":{value}")')
        if not isinstance(value, str) or "\0" in value:
            raise MismatchError(self.expected)
        scheme, _, rest = value.partition(":")
        if scheme == "unix":
            return self._unix(rest, base)
        if scheme == "fd":
            if not re.fullmatch(r"[0-9]{1,9}", rest):
                raise MismatchError('"fd:N", the number of an inherited descriptor')
            return value
        if scheme == "systemd":
            if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]{1,255}", rest):  # sd_listen_fds_with_names(3)
                raise MismatchError('"systemd:NAME", with the FileDescriptorName= of a socket unit')
            return value
        return self._internet(value)

    def _unix(self, path: str, base: str) -> str:
        if not path or path == "@":
            raise MismatchError('"unix:/path" or "unix:@name"')
        if not path.startswith("@"):
            path = os.path.normpath(os.path.join(base, os.path.expanduser(path)))
        if len(os.fsencode(path)) > 107:  # sockaddr_un.sun_path, unix(7)
            raise MismatchError("a socket path of at most 107 bytes")
        return f"unix:{path}"

    def _internet(self, value: str) -> str:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]*):([0-9]{1,5})", value, re.ASCII)
        if not match:
            if re.fullmatch(r"[0-9]{1,5}", value):
                raise MismatchError(f'{self.expected} (for port {value} on every address: ":{value}")')
            if value.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+", value):
                raise MismatchError('an IPv6 address in brackets: "[::1]:8000"')
            raise MismatchError(self.expected)
        host, port = match[1], int(match[2])
        if port > 65535:
            raise MismatchError("a port from 0 to 65535")
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                raise MismatchError('an IPv6 address in brackets: "[::1]:8000"') from None
        elif re.fullmatch(r"[0-9.]+", host):
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                raise MismatchError(f"an IPv4 address, a name or nothing before the port, not {host}") from None
        return value


class Network(Kind[str]):
    """An address or a network."""

    name = "address or network"
    plural = "addresses and networks"
    expected = 'an IP address, or a network such as "10.0.0.0/8"'

    def parse(self, value: object, base: str) -> str:
        if not isinstance(value, str):
            raise MismatchError(self.expected)
        if value == ANYWHERE:
            raise MismatchError(f'{self.expected} (for every address: "0.0.0.0/0" and "::/0")')
        try:
            if "/" in value:
                ipaddress.ip_network(value)
            else:
                ipaddress.ip_address(value)
        except ValueError:
            try:
                meant = ipaddress.ip_network(value, strict=False)
            except ValueError:
                raise MismatchError(self.expected) from None
            raise MismatchError(f'{self.expected}; did you mean "{meant}"?') from None
        return value


class Peer(Network):
    """Whom to trust: an address, a network, "unix" for every peer on a Unix socket, or "*" for all."""

    expected = 'an IP address, a network such as "10.0.0.0/8", "unix" or "*"'

    def parse(self, value: object, base: str) -> str:
        return str(value) if value in ("unix", ANYWHERE) else super().parse(value, base)


class Grantee(Kind[str]):
    """Who is granted something: a user, or "@" and a group, by name or number. It need not exist (yet)."""

    name = "user or @group"
    plural = "users and @groups"
    expected = 'a user such as "alice", a group such as "@operators", or their numbers'

    def parse(self, value: object, base: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not re.fullmatch(r"@?[^\s:,@\x00-\x1f]{1,255}", value):
            raise MismatchError(self.expected)
        if value.lower() == "off":
            raise MismatchError(f"{self.expected}; for nobody an empty list")
        if value.removeprefix("@").isdecimal() and int(value.removeprefix("@")) >= 2**32 - 1:
            raise MismatchError(self.expected)
        return value


class SystemAccount(Kind[str]):
    """A user or group, by name or number; "" is none. It must exist."""

    def __init__(self, what: str) -> None:
        self.name = what
        self._what = what
        self.expected = f"the name or number of a {what} that exists"

    def parse(self, value: object, base: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise MismatchError(self.expected)
        if value == "" or (value.isascii() and value.isdigit() and int(value) < 2**32 - 1):
            return value  # an account need not have a name (containers)
        try:
            (pwd.getpwnam if self._what == "user" else grp.getgrnam)(value)
        except (KeyError, ValueError):
            raise MismatchError(self.expected) from None
        return value
