"""The grammar of the PROXY protocol, versions 1 and 2: bytes in, who the client is out. It reads no socket.

The specification is HAProxy's doc/proxy-protocol.txt. Version 1 is one line of text; version 2 is binary, with fields
(TLVs) behind the addresses. Strict in what it takes: a header is written by a program, and one that is not as it should
be is not from the proxy.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES = 16  # of a binary header: signature, version and command, family, length of the rest
LINE_BYTES = 107  # section 2.1: the longest line, its end included
REST_BYTES = 8192  # of a binary header beyond the fixed ones: Unix addresses are 216, a certificate about 2048

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LINE = "PROXY protocol section 2.1"
_BINARY = "PROXY protocol section 2.2"


class HeaderError(Exception):
    """It is no PROXY header as it should be. `section`: of which specification."""

    def __init__(self, why: str, section: str) -> None:
        super().__init__(why)
        self.section = section


class Transport(Enum):
    """What the client has come to the proxy by; the values are the words of version 1, and more like them."""

    TCP4 = "TCP4"
    TCP6 = "TCP6"
    UDP4 = "UDP4"
    UDP6 = "UDP6"
    UNIX = "UNIX"
    UNKNOWN = "UNKNOWN"  # the proxy does not say
    LOCAL = "LOCAL"  # the proxy itself is the client: a health check


class Tlv(IntEnum):
    """Types of fields (section 2.2), and of those within SSL (section 2.2.6)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30
    AWS = 0xEA  # the first byte of its value says what: 1 is the id of a VPC endpoint


class SslTlv(IntEnum):
    VERSION = 0x21
    CN = 0x22
    CIPHER = 0x23
    SIG_ALG = 0x24
    KEY_ALG = 0x25


class Ssl(NamedTuple):
    """How the client has come to the proxy by TLS. `client` are its flags, of ClientFlag."""

    client: int
    verify: int  # 0: its certificate was verified, or there was none
    fields: Mapping[int, bytes]


class ClientFlag(IntEnum):
    SSL = 0x01  # it speaks TLS
    CERT_CONN = 0x02  # and has given a certificate in this connection
    CERT_SESS = 0x04  # or in this TLS session


class Place(NamedTuple):
    """One end of the client's connection; "" for what it does not have."""

    host: str = ""
    port: str = ""


NOWHERE = Place()


class Header(NamedTuple):
    """What a proxy says."""

    transport: Transport
    source: Place = NOWHERE  # the client
    destination: Place = NOWHERE  # where it has come to the proxy
    fields: Mapping[int, bytes] = {}
    ssl: Ssl | None = None


# --- version 1 --------------------------------------------------------------------------------------------------------

_PORT = rb"(0|[1-9][0-9]{0,4})"
_ADDRESSES = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) " + _PORT + rb" " + _PORT + rb"\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")  # whatever else it says is to be ignored


def parse_line(line: bytes) -> Header:
    """A whole line, up to its first LF. Raises HeaderError."""
    if _UNKNOWN.fullmatch(line):
        return Header(Transport.UNKNOWN)
    match = _ADDRESSES.fullmatch(line)
    if match is None or len(line) > LINE_BYTES:
        raise HeaderError("its PROXY line is not well-formed", _LINE)
    version, source, destination, source_port, destination_port = (group.decode() for group in match.groups())
    if int(source_port) > 65535 or int(destination_port) > 65535:
        raise HeaderError("its PROXY line has a port that is none", _LINE)
    parse: Callable[[str], _Address] = ipaddress.IPv4Address if version == "4" else ipaddress.IPv6Address
    try:
        hosts = _text(parse(source)), _text(parse(destination))
    except ValueError:
        raise HeaderError("its PROXY line has an address that is none", _LINE) from None
    return Header(Transport(f"TCP{version}"), Place(hosts[0], source_port), Place(hosts[1], destination_port))


def _text(address: _Address) -> str:
    """As REMOTE_ADDR has it: an IPv4 client of a dual-stack listener has its IPv4 address."""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


# --- version 2 --------------------------------------------------------------------------------------------------------

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_FAMILIES = {  # family and protocol: what it is, and the bytes of an address
    0x00: (Transport.UNKNOWN, 0),
    0x11: (Transport.TCP4, 4),
    0x12: (Transport.UDP4, 4),
    0x21: (Transport.TCP6, 16),
    0x22: (Transport.UDP6, 16),
    0x31: (Transport.UNIX, 108),
    0x32: (Transport.UNIX, 108),
}


def rest_of_binary(header: bytes) -> int:
    """How many bytes follow the fixed ones. Raises HeaderError."""
    if not header.startswith(SIGNATURE):
        raise HeaderError("its PROXY header has another signature", _BINARY)
    if header[12] not in {_LOCAL, _PROXY}:
        raise HeaderError(f"its PROXY header has version and command 0x{header[12]:02x}", _BINARY)
    length = int.from_bytes(header[14:16], "big")
    if length > REST_BYTES:
        raise HeaderError(f"its PROXY header is too long, {length} bytes", _BINARY)
    return length


def parse_binary(header: bytes) -> Header:
    """A whole header. Raises HeaderError."""
    if rest_of_binary(header) != len(header) - FIXED_BYTES:
        raise HeaderError("its PROXY header has not the length that it says", _BINARY)
    if header[12] == _LOCAL:
        return Header(Transport.LOCAL)  # what else it says is to be discarded
    transport, size = _FAMILIES.get(header[13], (None, 0))
    if transport is None:
        raise HeaderError(f"its PROXY header has the family 0x{header[13]:02x}", _BINARY)
    rest = header[FIXED_BYTES:]
    fields_at = 2 * size if transport in {Transport.UNIX, Transport.UNKNOWN} else 2 * size + 4
    if len(rest) < fields_at:
        raise HeaderError("its PROXY header is too short for its addresses", _BINARY)
    fields = dict(_fields(rest[fields_at:]))
    _check_crc(header, fields_at, fields)
    ssl = _ssl(fields[Tlv.SSL]) if Tlv.SSL in fields else None
    if transport is Transport.UNKNOWN:
        return Header(transport, fields=fields, ssl=ssl)
    if transport is Transport.UNIX:
        return Header(transport, NOWHERE, NOWHERE, fields, ssl)
    source, destination, source_port, destination_port = struct.unpack_from(f"!{size}s{size}sHH", rest)
    return Header(transport, _place(source, source_port), _place(destination, destination_port), fields, ssl)


def _place(address: bytes, port: int) -> Place:
    return Place(_text(ipaddress.ip_address(address)), str(port))


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and values, the first of each type last: in a dict that is the one that counts."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        value_at = at + 3
        end = value_at + int.from_bytes(data[at + 1 : value_at], "big")
        if value_at > len(data) or end > len(data):
            raise HeaderError("a field of its PROXY header ends behind the header", _BINARY)
        found.append((data[at], data[value_at:end]))
        at = end
    return reversed(found)


def _check_crc(header: bytes, fields_at: int, fields: Mapping[int, bytes]) -> None:
    """Section 2.2.3: of the whole header, with zeros in the place of the sum."""
    if Tlv.CRC32C not in fields:
        return
    said = fields[Tlv.CRC32C]
    at = FIXED_BYTES + fields_at
    while header[at] != Tlv.CRC32C:
        at += 3 + int.from_bytes(header[at + 1 : at + 3], "big")
    if len(said) != 4 or crc32c(header[: at + 3] + bytes(4) + header[at + 7 :]) != int.from_bytes(said, "big"):
        raise HeaderError("the checksum of its PROXY header is wrong", "PROXY protocol section 2.2.3")


def _ssl(value: bytes) -> Ssl:
    if len(value) < 5:
        raise HeaderError("the SSL field of its PROXY header is too short", "PROXY protocol section 2.2.6")
    return Ssl(value[0], int.from_bytes(value[1:5], "big"), dict(_fields(value[5:])))


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901 - reflected: RFC 3720 appendix B.4
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 appendix B.4 (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
