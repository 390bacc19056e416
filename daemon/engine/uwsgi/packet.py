"""The packet that a request begins with: four bytes, and variables, each a name and a value behind their sizes.

The source is "The uwsgi Protocol" of uWSGI's documentation. All sizes are 16 bits, little-endian; the first counts the
variables alone, and the body follows. It is parsed strictly, and from complete bytes: a size that does not fit to
another is an error, and nobody guesses. Names and values are latin-1 text, as in an environ (PEP 3333).
"""

from __future__ import annotations

import re
import struct
from typing import Final

from ...http import errors
from ...http.errors import ProtocolError
from ...http.head import Limits

HEADER_BYTES = 4
PROTOCOL: Final = "the uwsgi protocol"  # for errors: where the rule is written down

_size_at = struct.Struct("<H").unpack_from
_NUL = "\0"
_FIELD = "HTTP_"
# The name of a variable: a token (RFC 9110 section 5.6.2), as nginx makes one of each field and takes one of its
# configuration. A "." is for what servers tell applications, wsgi.input and the like, which is nobody else's to say.
_NAME = re.compile(r"HTTP_[!#$%&'*+.^_`|~0-9A-Z-]+|[!#$%&'*+^_`|~0-9A-Za-z-]+")
# What no field may hold (RFC 9110 section 5.5), nor what is made into one, or into a line of a log.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Paths are unescaped: they may hold what a URL can only hold escaped, but for NUL, which no proxy lets through.
_PATHS = frozenset({"DOCUMENT_URI", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_FILENAME"})
# A proxy's configuration may say a thing twice, and its last word counts, as for uWSGI: `include uwsgi_params` and a
# line that overrides one of these. Not so what decides where a request ends, or which one it is.
_IN_REQUEST_LINE = frozenset({"REQUEST_URI", "QUERY_STRING", "PATH_INFO"})  # which have a limit of their own
_ONLY_ONCE = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE", "REQUEST_METHOD", "REQUEST_URI"})
# HTTP_PROXY would be taken for a setting (CVE-2016-5385); the others say again what CONTENT_LENGTH and _TYPE do.
_DROPPED = ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")
_KEPT_NAMES = 2048
_KEPT_NAME_CHARS = 64


class _Names(set[str]):
    """Those that were found right; bounded."""

    def learn(self, name: str) -> None:
        """Raises ProtocolError (400)."""
        if not _NAME.fullmatch(name):
            raise _bad_name(name)
        if len(name) <= _KEPT_NAME_CHARS:
            if len(self) >= _KEPT_NAMES:
                self.clear()
            self.add(name)


_names = _Names()


def block_bytes(header: bytes, limits: Limits) -> int:
    """The size of the variables, of a packet's first four bytes. Raises ProtocolError (400, 431, 501)."""
    modifier1, modifier2 = header[0], header[3]
    if modifier1 or modifier2:
        raise _other_packet(header)
    size: int = _size_at(header, 1)[0]
    if size > limits.fields_bytes:
        raise errors.fields_too_large(size)
    return size


def read_variables(block: bytes, limits: Limits) -> dict[str, str]:
    """All of them. Raises ProtocolError (400, 431)."""
    text = block.decode("latin-1")
    variables: dict[str, str] = {}
    names, largest = _names, limits.field_bytes
    at, end, fields = 0, len(block), 0
    try:
        while at < end:
            start = at + 2
            at = start + _size_at(block, at)[0]
            name = text[start:at]
            start = at + 2
            at = start + _size_at(block, at)[0]
            value = text[start:at]
            if name not in names:
                names.learn(name)
            if at - start + len(name) > largest and name not in _IN_REQUEST_LINE:
                raise errors.field_too_large(largest)
            if name in variables:
                fields += name.startswith(_FIELD)
                value = _repeated(name, variables[name], value)
            variables[name] = value
    except struct.error:
        raise _beyond() from None
    if at > end:
        raise _beyond()
    if _CONTROL.search("".join(variables.values())):
        _look_closer(variables)
    if len(variables) + fields > limits.fields:
        fields += sum(name.startswith(_FIELD) for name in variables)
        if fields > limits.fields:
            raise ProtocolError(431, f"more than {limits.fields} fields", "RFC 6585 section 5", "fields")
    for name in _DROPPED:
        variables.pop(name, None)
    return variables


def _look_closer(variables: dict[str, str]) -> None:
    """Raises ProtocolError (400) if a control character is where none may be."""
    for name, value in variables.items():
        if _NUL in value or (name not in _PATHS and _CONTROL.search(value)):
            raise ProtocolError(400, f"a control character in {name}", "RFC 9110 section 5.5")


def _repeated(key: str, before: str, value: str) -> str:
    """What the two come to. Raises ProtocolError (400)."""
    if key == "HTTP_COOKIE":
        return f"{before}; {value}"
    if key.startswith(_FIELD) and key != "HTTP_HOST":  # as over HTTP
        return f"{before}, {value}"
    if key in _ONLY_ONCE and value != before:
        raise ProtocolError(400, f"{key} comes twice, and is not the same", PROTOCOL)
    return value


# --- what is wrong, for the log -----------------------------------------------------------------------------


def _beyond() -> ProtocolError:
    return ProtocolError(400, "the size of a variable goes beyond the packet's", PROTOCOL)


def _bad_name(name: str) -> ProtocolError:
    if not name:
        return ProtocolError(400, "a variable without a name", PROTOCOL)
    if "." in name and all("!" <= character <= "~" for character in name):
        detail = f"the variable {name[:_KEPT_NAME_CHARS]}: a name with a dot is the server's"
        return ProtocolError(400, detail, PROTOCOL)
    return ProtocolError(400, "the name of a variable is no token", PROTOCOL)


# What else is sent to a socket of uwsgi, by its first four bytes: a method, the record header of a TLS handshake
# (RFC 8446 section 5.1), the PROXY protocol's headers (haproxy.org, proxy-protocol.txt, section 2), the length of
# SCGI's netstring, FastCGI's FCGI_BEGIN_REQUEST.
_HTTP = re.compile(rb"[A-Z]{3}[A-Z ]")
_TLS = re.compile(rb"\x16\x03", re.DOTALL)
_PROXY = (b"PROX", b"\r\n\r\n")
_SCGI = re.compile(rb"[0-9]{1,3}:|[0-9]{4}")
_FASTCGI = b"\x01\x01\x00\x01"
_TAKES_SCRIPT_NAME_OFF = 30


def _other_packet(header: bytes) -> ProtocolError:
    """Which other protocol, or kind of packet, a client speaks, and what is to be done."""
    if header in _PROXY:
        return ProtocolError(400, "these bytes are a PROXY protocol header, but this socket speaks uwsgi", PROTOCOL)
    if _HTTP.match(header):
        remedy = 'uwsgi_pass instead of proxy_pass in nginx, or an address without "uwsgi:" in server.bind'
        return ProtocolError(400, f"these bytes are HTTP, but this socket speaks uwsgi: {remedy}", PROTOCOL)
    if _TLS.match(header):
        return ProtocolError(400, "these bytes are TLS, but this socket speaks uwsgi (nginx: no suwsgi://)", PROTOCOL)
    for name, found in (("SCGI", _SCGI.match(header)), ("FastCGI", header == _FASTCGI)):
        if found:
            remedy = f"uwsgi_pass instead of {name.lower()}_pass in nginx"
            return ProtocolError(400, f"these bytes are {name}, but this socket speaks uwsgi: {remedy}", PROTOCOL)
    if header[0] == _TAKES_SCRIPT_NAME_OFF:
        remedy = "SCRIPT_NAME is taken off PATH_INFO without it: leave out uwsgi_modifier1"
        return ProtocolError(501, f"a packet of modifier1 30: {remedy}", PROTOCOL)
    detail = f"a packet of modifier1 {header[0]}, modifier2 {header[3]}: both have to be 0, requests of WSGI"
    return ProtocolError(501, detail, PROTOCOL)
