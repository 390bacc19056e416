"""The keys that say whose word counts about the client, its URL and the prefix, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .addresses import ANYWHERE, Peer
from .declaration import key
from .kinds import Boolean, Choice, Many, Text
from .numbers import Integer

FORWARDED = "Forwarded"
_FIELD = Text(
    "the name of a header field, without underscores (a field with one is dropped)",
    r"[!#$%&'*+.^`|~0-9A-Za-z-]+",
    off=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySection:
    """Whose word counts about the client and the URL that it asks for."""

    trusted: tuple[str, ...] = key(
        Many(Peer()),
        (),
        'Addresses and networks of proxies whose word counts; "unix" for every peer on a Unix socket; "*" for '
        "whoever connects.",
    )
    hops: int = key(
        Integer(1, 32, off=True),
        0,
        "Through how many proxies requests come: of a list, what the outermost of them has added counts. off: the "
        "client is the last in the list that is not trusted itself, and of other lists the last value counts.",
        compute=lambda around: int(ANYWHERE in around.values["proxy.trusted"]),
        computed='1 if trusted has "*", otherwise off',
    )
    fields: str = key(
        Choice("x-forwarded", "forwarded"),
        "x-forwarded",
        "Where the trusted proxies say who the client is and whether it speaks https: in client_field and "
        "scheme_field, or in Forwarded (RFC 7239). What is not read is passed on by a proxy as a client sent it.",
    )
    client_field: str = key(
        _FIELD, "X-Forwarded-For", "The field with the client's address, or those of all on the way (REMOTE_ADDR)."
    )
    scheme_field: str = key(
        _FIELD,
        "X-Forwarded-Proto",
        "The field with the scheme (wsgi.url_scheme, HTTPS): http or https, as in X-Forwarded-Proto, or on or off, as "
        "in X-Forwarded-Ssl and Front-End-Https.",
    )
    host_field: str = key(
        _FIELD,
        "",
        "The field with the host that the client asked for (HTTP_HOST, SERVER_NAME, SERVER_PORT), such as "
        "X-Forwarded-Host; Forwarded with fields = forwarded. The proxies must set it.",
    )
    port_field: str = key(
        _FIELD,
        "",
        "The field with the port that the client asked (SERVER_PORT, HTTP_HOST), such as X-Forwarded-Port. The proxies "
        "must set it.",
    )
    prefix_field: str = key(
        _FIELD,
        "",
        "The field with the prefix under which the client sees the application (SCRIPT_NAME), such as "
        "X-Forwarded-Prefix. The proxies must set it.",
    )
    prefix_stripped: bool = key(
        Boolean(),
        True,
        "The proxies have taken that prefix off the path already. false: it is taken off here.",
    )


def proxy_notes(values: Mapping[str, Any]) -> list[str]:
    """What is no mistake but should be known of these values, by the paths of their keys."""
    open_to = [peer for peer in values["proxy.trusted"] if peer == ANYWHERE or peer.endswith("/0")]
    if not open_to:
        return []
    told = f'proxy.trusted has "{open_to[0]}": whoever can connect is believed about the client\'s address and scheme'
    if values["proxy.hops"]:
        return [f"{told}; nobody but the proxies may reach server.bind"]
    return [f"{told}, and clients behind the proxies choose theirs: set proxy.hops to the number of proxies"]
