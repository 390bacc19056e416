"""Where other parsers differ from ours, and why that is right: each row names the rule and its source.

A difference that no row matches is a defect, of ours or of theirs, and fails the test. Rows about what we take are
narrow, because laxness is what smuggles requests; rows about what we refuse go by the reason that we give.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .peers import Message


class Kind(Enum):
    """Who does what."""

    WE_REFUSE = "we refuse what it takes"
    IT_REFUSES = "it refuses what we take"
    OTHERWISE = "both take it and read it otherwise"
    FRAMED = "they disagree on where a request ends"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first one of a stream: `subject` is our reason, its reason, or what is read otherwise."""

    peer: str
    kind: Kind
    subject: str
    ours: Message | None = None  # where we have read one there
    other: Message | None = None


def always(_difference: Difference) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Listed:
    """A row: a difference that is known and right."""

    kind: Kind
    peers: tuple[str, ...]
    subject: str  # regular expression, from the beginning
    rule: str
    source: str
    holds: Callable[[Difference], bool] = always

    def matches(self, found: Difference) -> bool:
        return (
            found.kind is self.kind
            and found.peer in self.peers
            and re.match(self.subject, found.subject, re.DOTALL) is not None
            and self.holds(found)
        )


H11_LENGTH_DIGITS = 20
LLHTTP, H11, STDLIB = ("llhttp",), ("h11",), ("http.server",)
ALL = (*LLHTTP, *H11, *STDLIB)


def refused(peers: tuple[str, ...], subject: str, rule: str, source: str) -> Listed:
    return Listed(Kind.WE_REFUSE, peers, subject, rule, source)


def taken(
    peers: tuple[str, ...], subject: str, rule: str, source: str, holds: Callable[[Difference], bool] = always
) -> Listed:
    return Listed(Kind.IT_REFUSES, peers, subject, rule, source, holds)


def otherwise(
    peers: tuple[str, ...], subject: str, rule: str, source: str, holds: Callable[[Difference], bool]
) -> Listed:
    return Listed(Kind.OTHERWISE, peers, subject, rule, source, holds)


def field(found: Difference, name: str) -> str:
    return found.ours.fields.get(name, "") if found.ours else ""


def target_has_bytes(found: Difference) -> bool:
    return found.ours is not None and not found.ours.target.isascii()


def differ_in(found: Difference) -> set[str]:
    """Which fields are not the same."""
    if found.ours is None or found.other is None:
        return set()
    ours, other = found.ours.fields, found.other.fields
    return {name for name in {*ours, *other} if ours.get(name) != other.get(name)}


def only_case_of_coding(found: Difference) -> bool:
    return differ_in(found) == {"HTTP_TRANSFER_ENCODING"}


def wants_upgrade(found: Difference) -> bool:
    return bool(field(found, "HTTP_UPGRADE")) and "upgrade" in field(found, "HTTP_CONNECTION").lower()


def options_of_connection(found: Difference) -> set[str]:
    return {option.strip().lower() for option in field(found, "HTTP_CONNECTION").split(",")}


def http10_keeps_alive(found: Difference) -> bool:
    return found.ours is not None and not found.ours.http11 and "keep-alive" in options_of_connection(found)


def several_options(found: Difference) -> bool:
    return len(options_of_connection(found)) > 1


def one_option(found: Difference) -> bool:
    return bool(options_of_connection(found) & {"close", "keep-alive"})


def has_proxy_connection(found: Difference) -> bool:
    return bool(field(found, "HTTP_PROXY_CONNECTION"))


def is_chunked(found: Difference) -> bool:
    """Alone, as we read it: what the other takes offence at is white space, or a trailer."""
    return field(found, "HTTP_TRANSFER_ENCODING").lower() == "chunked" and not field(found, "CONTENT_LENGTH")


def has_many_zeros(found: Difference) -> bool:
    return len(field(found, "CONTENT_LENGTH")) > H11_LENGTH_DIGITS


def is_cut_off(found: Difference) -> bool:
    return found.ours is not None and found.ours.body is None


def starts_with_slashes(found: Difference) -> bool:
    return found.ours is not None and found.ours.target.startswith("//")


DIFFERENCES: tuple[Listed, ...] = (
    # request line
    refused(ALL, "malformed request line", "three parts, one SP between them, no fragment", "RFC 9112 3"),
    refused(ALL, "HTTP major version", "another major version is not HTTP/1", "RFC 9110 2.5, 15.6.6"),
    refused(ALL, "CONNECT", "an origin server need not tunnel", "RFC 9110 9.3.6"),
    refused(ALL, "a request target that does not begin", "origin-form begins with a slash", "RFC 9112 3.2.1"),
    refused(ALL, r"request target \*", "asterisk-form is for OPTIONS", "RFC 9112 3.2.4"),
    refused(ALL, "invalid authority", "an http URI has a host and no userinfo", "RFC 9110 4.2.1, 4.2.4"),
    taken(LLHTTP, "Invalid method|Expected ", "any token is a method", "RFC 9110 9.1"),
    taken(LLHTTP, "Invalid HTTP version", "1.x with x above 1 is read as 1.1", "RFC 9110 2.5, 6.2"),
    taken(LLHTTP, "Invalid char in url", "raw bytes in a target mean themselves", "RFC 3986 2.1", target_has_bytes),
    taken(H11, "illegal request line", "raw bytes in a target mean themselves", "RFC 3986 2.1", target_has_bytes),
    taken(STDLIB, "400 Bad request", "raw bytes in a target mean themselves", "RFC 3986 2.1", target_has_bytes),
    taken(H11 + STDLIB, "no request line|an empty line", "empty lines in front are skipped", "RFC 9112 2.2"),
    otherwise(STDLIB, "target", "raw bytes in a target mean themselves", "RFC 3986 2.1", target_has_bytes),
    otherwise(STDLIB, "target", "slashes are not folded", "RFC 9112 3.2, RFC 3986 6.2.2", starts_with_slashes),
    # fields
    refused(ALL, "HTTP/1.1 without Host", "Host is mandatory", "RFC 9112 3.2"),
    refused(LLHTTP + STDLIB, "repeated Host", "one Host", "RFC 9112 3.2"),
    refused(ALL, "repeated Content-Type", "one Content-Type: parsers take different ones", "RFC 9110 8.3"),
    refused(ALL, "invalid Host", "Host is a host and a port", "RFC 9112 3.2, RFC 3986 3.2.2"),
    refused(H11 + STDLIB, "a field line without a colon", "a field has a name and a value", "RFC 9112 5"),
    refused(H11 + STDLIB, "a folded field line|white space in front of", "no obs-fold", "RFC 9112 5.2, 2.2"),
    refused(H11 + STDLIB, "white space between a field", "a name has its colon behind it", "RFC 9112 5.1"),
    refused(H11 + STDLIB, "invalid field name", "a name is a token", "RFC 9110 5.1"),
    refused(H11 + STDLIB, "control character", "no control characters", "RFC 9110 5.5"),
    refused(ALL, "bare CR or bare LF", "CRLF ends lines", "RFC 9112 2.2"),
    refused(ALL, "more than 100 fields|a field of|fields of", "limits", "RFC 9110 5.4, RFC 6585 5"),
    refused(ALL, "a request line of", "limits", "RFC 9112 3, RFC 9110 15.5.15"),
    refused(ALL, "an expectation other", "417 for what cannot be met", "RFC 9110 10.1.1"),
    refused(ALL, "not HTTP", "an empty line is not followed by junk", "RFC 9112 2.2"),
    # which bytes are the body
    refused(H11 + STDLIB, "Content-Length together", "never both", "RFC 9112 6.1, 6.3"),
    refused(H11 + STDLIB, "repeated Content-Length", "one Content-Length, even if equal", "RFC 9110 8.6"),
    refused(H11 + STDLIB, "invalid Content-Length", "digits alone, and no list, even of equals", "RFC 9110 8.6"),
    refused(ALL, "Content-Length out of bounds|a body of|a chunked body of", "limits", "RFC 9110 15.5.14"),
    refused(ALL, "Transfer-Encoding in HTTP/1.0", "faulty framing of a client that knows no codings", "RFC 9112 6.1"),
    refused(LLHTTP + STDLIB, "a transfer coding other", "501 for an unknown coding", "RFC 9112 6.1"),
    refused(LLHTTP + STDLIB, "malformed Transfer-Encoding", "codings are tokens", "RFC 9112 6.1, 7"),
    refused(LLHTTP + STDLIB, "chunked is not once", "chunked is the last, and once", "RFC 9112 6.1, 6.3"),
    taken(LLHTTP, ".*[Tt]ransfer-Encoding", "a tab is white space too", "RFC 9110 5.6.3", is_chunked),
    otherwise(H11, "fields", "codings are in any case; it writes them small", "RFC 9112 7", only_case_of_coding),
    # chunks
    refused(
        H11, "malformed chunk size|bare CR or LF in chunk", "CRLF ends lines, no space behind a size", "RFC 9112 7.1"
    ),
    refused(H11, "malformed trailer", "trailers are field lines", "RFC 9112 7.1.2"),
    refused(STDLIB, ".*chunk|malformed trailer|trailers too", "it reads no bodies", "RFC 9112 6.3"),
    refused(LLHTTP + H11, "too many chunk extensions|chunk line too long|trailers too", "limits", "RFC 9112 7.1.1"),
    taken(H11, "bad Content-Length", "zeros in front change nothing", "RFC 9110 8.6", has_many_zeros),
    taken(H11, "illegal chunk header", "white space around a semicolon", "RFC 9112 7.1.1"),
    taken(LLHTTP, "Invalid character in chunk", "white space around a semicolon", "RFC 9112 7.1.1"),
    taken(LLHTTP, "Content-Length can't be", "a trailer never frames", "RFC 9110 6.5.1", is_chunked),
    taken(H11, "Only Transfer-Encoding|bad Content-Length", "a trailer never frames", "RFC 9110 6.5.1", is_chunked),
    taken(LLHTTP, "Invalid header token|Chunk size overflow", "it sees a fault sooner", "RFC 9112 7.1", is_cut_off),
    refused(LLHTTP, "malformed chunk size", "an upgrade may be ignored, its body is one", "RFC 9110 7.8"),
    # the connection
    otherwise(H11, "persistent", "HTTP/1.0 may ask for keep-alive", "RFC 9112 9.3", http10_keeps_alive),
    otherwise(STDLIB + LLHTTP, "persistent", "Connection is a list; close wins", "RFC 9112 9.3", several_options),
    otherwise(STDLIB, "persistent", "white space behind a value is not of it", "RFC 9112 5.1", one_option),
    otherwise(LLHTTP, "persistent", "Proxy-Connection means nothing", "RFC 9112 C.2.2", has_proxy_connection),
    taken(LLHTTP, "Data after `Connection: close`", "a trailer does not close", "RFC 9110 6.5.1"),
    otherwise(LLHTTP, "body", "an upgrade may be ignored, its body is one", "RFC 9110 7.8", wants_upgrade),
)


def listed(found: Difference) -> Listed | None:
    """The row of a difference, None if there is none."""
    return next((row for row in DIFFERENCES if row.matches(found)), None)
