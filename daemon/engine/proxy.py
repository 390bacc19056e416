"""What a trusted reverse proxy may say about the client. Nobody is trusted by default.

Only X-Forwarded-For and X-Forwarded-Proto count: a proxy that sets those passes a client's own `Forwarded` (RFC 7239)
through untouched, so that honouring both would let clients choose their address. `forwarded=True` is for proxies that
set Forwarded instead.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# forwarded-pair = token "=" value, where value is a token or a quoted string (RFC 7239 section 4), and what ends it:
# ";" before the next pair, "," before the next element
_PAIR = re.compile(
    r'[ \t]*(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"\s]*)[ \t]*)?(;|,|\Z)',
)
# An address as proxies send it: bare, or with a port ("192.0.2.1:80", "[2001:db8::1]:80"; RFC 7239 section 6)
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._\-]+))?")


class Proxy:
    """Who is trusted, and how what they say changes an environ. The one place that decides on trust."""

    def __init__(self, trusted: tuple[str, ...], *, forwarded: bool = False) -> None:
        """`trusted`: addresses, networks, "unix" for every Unix-socket peer, "*" for all. Raises ValueError."""
        self._everyone = "*" in trusted
        self._unix = self._everyone or "unix" in trusted
        names = [name for name in trusted if name not in {"*", "unix"}]
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names]
        self._forwarded = forwarded

    def trusts(self, address: str) -> bool:
        """`address` is a bare IP, or "" for a Unix socket."""
        if not address:
            return self._unix
        return self._everyone or self._trusts(_parse(address.partition("%")[0]))  # the kernel's own scope is no matter

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def apply(self, environ: dict[str, Any]) -> None:
        """Change REMOTE_ADDR and wsgi.url_scheme of a request that came from a trusted peer."""
        if self._forwarded:
            hops, scheme = self._read_forwarded(environ.get("HTTP_FORWARDED", ""))
        else:
            hops = [_parse(_bare(hop)) for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
            # the last value is the one that the peer itself added
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        client = None
        for hop in reversed(hops):  # from the nearest: the first that is not a trusted proxy is the client
            if hop is None:
                break
            client = hop
            if not (self._everyone or self._trusts(hop)):
                break
        if client is not None:
            environ["REMOTE_ADDR"] = str(client)
            environ["REMOTE_PORT"] = ""
        if scheme in {"http", "https"}:
            environ["wsgi.url_scheme"] = scheme

    @staticmethod
    def _read_forwarded(value: str) -> tuple[list[_Address | None], str]:
        """Hops and the last one's scheme. What is not well-formed says nothing: a client may have begun a quotation in
        the hope that its proxy's words end it."""
        elements: list[dict[str, str]] = [{}]
        at = 0
        while at < len(value):
            match = _PAIR.match(value, at)
            if match is None or (match[1] and match[1].lower() in elements[-1]):
                return [None], ""
            at = match.end()
            if match[1]:
                elements[-1][match[1].lower()] = match[2].strip('"')
            if match[3] == ",":
                elements.append({})
        elements = [element for element in elements if element]
        hops = [_parse(_bare(element.get("for", ""))) for element in elements]
        return hops, elements[-1].get("proto", "").lower() if elements else ""


def _bare(hop: str) -> str:
    """An address without its port; "" for what is none."""
    hop = hop.strip()
    if hop.count(":") > 1 and not hop.startswith("["):
        return hop
    match = _NODE.fullmatch(hop)
    return (match[1] or match[2]) if match else ""


def _parse(address: str) -> _Address | None:
    if "%" in address:  # a scope means nothing elsewhere, and ipaddress takes any text for one
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
