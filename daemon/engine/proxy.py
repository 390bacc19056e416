"""What trusted reverse proxies may say: who the client is, by which URL it asks, and below which prefix.

Nobody is trusted by default. Each thing is read from one field, which the settings name: a proxy passes those that it
does not set through as its client sent them, so that a second field for the same thing would be the client's to choose.
That is why Forwarded (RFC 7239) and X-Forwarded-For are never both read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..http.errors import ProtocolError
from ..http.head import is_host, unescape
from ..settings import Settings

T = TypeVar("T")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# forwarded-pair = token "=" value, where value is a token or a quoted string (RFC 7239 section 4), and what ends it:
# ";" before the next pair, "," before the next element
_PAIR = re.compile(
    r'[ \t]*(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"\s]*)[ \t]*)?(;|,|\Z)',
)
# An address as proxies send it: bare, or with a port ("192.0.2.1:80", "[2001:db8::1]:80"; RFC 7239 section 6)
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._\-]+))?")
_SCHEMES = {  # X-Forwarded-Proto, -Protocol and -Scheme say one of them, X-Forwarded-Ssl and Front-End-Https on or off
    "https": "https", "ssl": "https", "wss": "https", "on": "https", "http": "http", "ws": "http", "off": "http",
}  # fmt: skip
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MAX_PORT = 65535
# Segments, each behind its slash (RFC 3986 section 3.3), before they are unescaped; a slash at the end is none of it.
_PREFIX = re.compile(r"((?:/(?:[A-Za-z0-9\-._~!$&'()*+;=:@]|%[0-9A-Fa-f]{2})+)*)/?")
_NOT_IN_PREFIX = re.compile(r"[\x00-\x1f\x7f\\]|//|/\.{1,2}(?:/|\Z)|/\Z")


class Names(NamedTuple):
    """The fields in which proxies say something, as they are called; "": in none, it is not read."""

    client: str = "X-Forwarded-For"
    scheme: str = "X-Forwarded-Proto"
    host: str = ""
    port: str = ""
    prefix: str = ""


X_FORWARDED = Names()


class Proxy:
    """Who is trusted, and how what they say changes an environ. The one place that decides on trust."""

    def __init__(
        self, trusted: tuple[str, ...], *, forwarded: bool = False, hops: int = 0, names: Names = X_FORWARDED,
        stripped: bool = True,
    ) -> None:  # fmt: skip
        """`trusted`: addresses, networks, "unix" for every Unix-socket peer, "*" for all. Raises ValueError.

        `hops`: how many proxies a request comes through, the peer included; 0: as many as `trusted` names. `forwarded`:
        client and scheme are read from Forwarded, and the host too if `names` says so. `stripped`: the prefix is no
        more in the path.
        """
        self._everyone = "*" in trusted
        self._unix = "unix" in trusted
        self._networks = [ipaddress.ip_network(name, strict=False) for name in trusted if name not in {"*", "unix"}]
        self._forwarded = forwarded
        self._hops = hops
        self._client, self._scheme, self._host, self._port, self._prefix = map(_variable, names)
        self._names = names
        self._places = bool(names.host or names.port)
        self.stripped = stripped
        self.mounts = bool(names.prefix)

    @classmethod
    def of(cls, settings: Settings) -> Proxy | None:
        """None: nobody is trusted."""
        if not settings.trusted:
            return None
        names = Names(
            settings.client_field,
            settings.scheme_field,
            settings.host_field,
            settings.port_field,
            settings.prefix_field,
        )
        return cls(
            settings.trusted,
            forwarded=settings.forwarded,
            hops=settings.hops,
            names=names,
            stripped=settings.prefix_stripped,
        )

    def trusts(self, address: str) -> bool:
        """`address` is a bare IP, or "" for a Unix socket."""
        return self._everyone or self.names(address)

    def names(self, address: str) -> bool:
        """The same, but "*" does not count: it is said of whoever connects, and not of whom a proxy speaks of."""
        if not address:
            return self._unix
        return self._trusts(_parse(address.partition("%")[0]))  # the kernel's own scope is no matter

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    # --- a request that came from a trusted peer ---

    def check(self, fields: Mapping[str, Any]) -> None:
        """Raises ProtocolError (400) if it says a host, a port or a prefix that can be none.

        Without a client's address or scheme the peer's own are good enough; a wrong URL would go into links.
        """
        if self._places:
            self._said_host(fields)
            self._said_port(fields)
        if self.mounts:
            self.prefix(fields)

    def apply(self, environ: dict[str, Any]) -> None:
        """Change REMOTE_ADDR, wsgi.url_scheme and what `place` does, in what a request's environ begins with."""
        if self._forwarded:
            elements = _elements(environ.get("HTTP_FORWARDED", ""))
            hops = [_parse(_bare(element.get("for", ""))) for element in elements]
            scheme = self._counted(elements, {}).get("proto", "")
        else:
            hops = [_parse(_bare(hop)) for hop in environ.get(self._client, "").split(",") if hop.strip()]
            scheme = self._value(environ, self._scheme)
        client = self._counted_client(hops) if self._hops else self._nearest_stranger(hops)
        if client is not None:
            environ["REMOTE_ADDR"] = str(client)
            environ["REMOTE_PORT"] = ""
        scheme = _SCHEMES.get(scheme.lower(), "")
        if scheme:
            environ["wsgi.url_scheme"] = scheme
            if scheme == "https":
                environ["HTTPS"] = "on"  # PEP 3333, "environ Variables"
            else:
                environ.pop("HTTPS", None)  # the proxy itself has come by it
        self.place(environ)

    def place(self, environ: dict[str, Any]) -> None:
        """Change HTTP_HOST, SERVER_NAME and SERVER_PORT. To be called again if HTTP_HOST has been replaced since."""
        if not self._places:
            return
        host, port = self._said_host(environ), self._said_port(environ)
        if not host and not port:
            return
        name, own_port = _name_and_port(host or environ.get("HTTP_HOST", ""))
        default = _DEFAULT_PORTS[environ["wsgi.url_scheme"]]
        environ["SERVER_PORT"] = port = port or own_port.lstrip("0") or default
        if host:
            environ["SERVER_NAME"] = name
        if name:
            environ["HTTP_HOST"] = name if port == default else f"{name}:{port}"

    def prefix(self, fields: Mapping[str, Any]) -> str:
        """Below which the client sees the application, unescaped as PATH_INFO is; "": it is not said. Raises
        ProtocolError (400)."""
        said = self._value(fields, self._prefix)
        match = _PREFIX.fullmatch(said)
        prefix = unescape(match[1]) if match else ""
        if match is None or _NOT_IN_PREFIX.search(prefix):
            raise ProtocolError(
                400, f"{self._names.prefix} of a trusted proxy is no prefix of a path", "RFC 3986 section 3.3"
            )
        return prefix

    def _said_host(self, fields: Mapping[str, Any]) -> str:
        if self._forwarded and self._host == "HTTP_FORWARDED":
            host = self._counted(_elements(fields.get("HTTP_FORWARDED", "")), {}).get("host", "")
        else:
            host = self._value(fields, self._host)
        if host and not (is_host(host) and _is_complete(*_name_and_port(host))):
            raise ProtocolError(400, f"{self._names.host} of a trusted proxy is no host", "RFC 9110 section 7.2")
        return host

    def _said_port(self, fields: Mapping[str, Any]) -> str:
        port = self._value(fields, self._port)
        if port and not is_port(port):
            raise ProtocolError(400, f"{self._names.port} of a trusted proxy is no port", "RFC 3986 section 3.2.3")
        return port.lstrip("0")

    # --- whose word of several counts ---

    def _value(self, fields: Mapping[str, Any], variable: str) -> str:
        value: str = fields.get(variable, "") if variable else ""
        if not value:
            return ""
        return self._counted([part.strip(" \t") for part in value.split(",")], "")

    def _counted(self, values: Sequence[T], nothing: T) -> T:
        """The one that counts of what proxies have said, each behind what it was told.

        That is the peer's own, the last; or that of the outermost one that is counted. Of one value it was set by
        whichever did not keep what it was told; a list that is shorter than the way comes from nobody knows where.
        """
        if len(values) < 2:
            return values[0] if values else nothing
        if len(values) < self._hops:
            return nothing
        return values[-self._hops or -1]

    def _counted_client(self, hops: list[_Address | None]) -> _Address | None:
        return hops[-self._hops] if len(hops) >= self._hops else None

    def _nearest_stranger(self, hops: list[_Address | None]) -> _Address | None:
        """From the nearest: the first that is not a trusted proxy is the client."""
        client = None
        for hop in reversed(hops):
            if hop is None:
                break
            client = hop
            if not (self._everyone or self._trusts(hop)):
                break
        return client


class UwsgiPeer(Proxy):
    """Who speaks uwsgi: whoever may is a proxy, and all that it says of client and URL is in its packet.

    No field is read beside that: the proxy passes them on as its client has sent them.
    """

    def __init__(self, trusted: tuple[str, ...]) -> None:
        """As of a Proxy; that a peer may open a Unix socket is trust enough."""
        super().__init__((*trusted, "unix"), names=Names("", "", "", "", ""))
        self.mounts = True

    def prefix(self, fields: Mapping[str, Any]) -> str:
        """SCRIPT_NAME, which is checked, and no more in the path."""
        prefix: str = fields["SCRIPT_NAME"]
        return prefix


def _variable(name: str) -> str:
    return f"HTTP_{name.upper().replace('-', '_')}" if name else ""


def _elements(value: str) -> list[dict[str, str]]:
    """Of a Forwarded field. What is not well-formed says nothing: a client may have begun a quotation in the hope that
    its proxy's words end it."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        match = _PAIR.match(value, at)
        if match is None or (match[1] and match[1].lower() in elements[-1]):
            return []
        at = match.end()
        if match[1]:
            elements[-1][match[1].lower()] = match[2].strip('"')
        if match[3] == ",":
            elements.append({})
    return [element for element in elements if element]


def _name_and_port(host: str) -> tuple[str, str]:
    """Of a Host field."""
    if host.endswith("]"):
        return host, ""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon else (host, "")


def _is_complete(name: str, port: str) -> bool:
    return bool(name) and (not port or is_port(port))


def is_port(text: str) -> bool:
    """Whether it is the number of one."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT


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
