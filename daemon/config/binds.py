"""An entry of server.bind: where to listen, and what is spoken there.

It is a text, the address, or a table: { address = "0.0.0.0:8443", certificate = "shop.pem" }. "uwsgi:ADDRESS" is the
text for the table { address = "ADDRESS", protocol = "uwsgi" }. An option is declared once, as a field of `Bind` with
its `key(…)`, like the keys of sections; the table's parser, what is shown and the reference follow from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .declaration import key
from .endpoints import Endpoint, EndpointEntry
from .kinds import Boolean, Choice, MismatchError, Text
from .tables import options_of
from .tls_options import HTTPS_PORT

UWSGI = "uwsgi:"
_UWSGI_EXPECTED = '"uwsgi:HOST:PORT", "uwsgi:/path", or "uwsgi:" before another address'
_HSTS = r"(?i:max-age=[0-9]{1,10}(; ?includeSubDomains)?(; ?preload)?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind(Endpoint):
    """One entry. Its address is its identity: the options belong to a generation, the socket to the daemon."""

    protocol: str = key(
        Choice("http", "uwsgi"),
        "http",
        "What is spoken there; uwsgi is what nginx's uwsgi_pass speaks (uwsgi.md). It says who the client is: on a TCP "
        "address only the peers in proxy.trusted may.",
    )
    proxy_protocol: bool = key(
        Boolean(),
        False,
        "Each connection begins with a header of the PROXY protocol, version 1 or 2, in which a proxy of proxy.trusted "
        "says who the client is (proxies.md). A connection of another peer, or without a header, is closed.",
    )
    redirect: str = key(
        Text('"https", or "https:8443" for another port than 443', r"https(:[0-9]{1,5})?", off=True),
        "",
        "No application: each request is redirected to the same URL with https://. off: it is served.",
    )
    hsts: str = key(
        Text('a value such as "max-age=63072000; includeSubDomains"', _HSTS, off=True),
        "",
        "The value of Strict-Transport-Security (RFC 6797) in each response that has none of its own. off: none.",
    )

    @property
    def scheme(self) -> str:
        """What stands before the address in a URL."""
        return "https" if self.secure else self.protocol

    @property
    def redirect_port(self) -> int:
        """That of the URL to which requests are redirected; 0: they are not."""
        return int(self.redirect.partition(":")[2] or HTTPS_PORT) if self.redirect else 0


OPTIONS = options_of(Bind, "address")


def contradictions(bind: Bind) -> Iterator[tuple[str, str]]:
    """Options that do not go with each other, each with what was expected of it."""
    if bind.protocol == "uwsgi" and bind.proxy_protocol:
        yield "proxy_protocol", "false: in uwsgi each packet says who the client is"
    if bind.secure and bind.protocol != "http":
        yield "certificate", f"none: TLS is not spoken with protocol {bind.protocol}"
    if bind.redirect and (bind.secure or bind.protocol != "http"):
        yield "redirect", "off: only plain HTTP is redirected"
    if bind.hsts and not bind.secure:
        yield "hsts", "a certificate beside it: over plain HTTP clients ignore it (RFC 6797, section 8.1)"
    if bind.redirect_port > 65535:
        yield "redirect", "a port from 1 to 65535"


class BindEntry(EndpointEntry[Bind]):
    """A text or a table."""

    def __init__(self) -> None:
        super().__init__(Bind)

    def contradictions(self, value: Bind) -> Iterator[tuple[str, str]]:
        yield from contradictions(value)
        yield from super().contradictions(value)

    def of_text(self, value: object, base: str) -> Bind:
        if not isinstance(value, str) or not value.startswith(UWSGI) or re.fullmatch(r"uwsgi:[0-9]{1,5}", value):
            return super().of_text(value, base)  # "uwsgi:8000" is a port of a host of that name
        address = value.removeprefix(UWSGI)
        if address.startswith("//"):  # as in Apache's ProxyPass; it would be the path of a Unix socket
            raise MismatchError(_UWSGI_EXPECTED)
        if address.startswith(("/", "@")):
            address = f"unix:{address}"
        try:
            return Bind(address=self.address.parse(address, base), protocol="uwsgi")
        except MismatchError as error:
            raise MismatchError(
                _UWSGI_EXPECTED if error.expected == self.address.expected else error.expected
            ) from None

    def as_json(self, value: Bind) -> str | dict[str, Any]:
        match value.options:
            case {"protocol": "uwsgi", **others} if not others:
                return f"{UWSGI}{value.address}"
        return super().as_json(value)
