"""PROXY headers as proxies send them, put together by the specification and without the parser under test."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
CLIENT, SERVER = "203.0.113.9", "198.51.100.7"
LINE = b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 443\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def header(rest: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    """A header of version 2 with this behind the fixed bytes."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def binary(*tlvs: bytes, client: str = CLIENT, server: str = SERVER, ports: tuple[int, int] = (4567, 443)) -> bytes:
    """What a client over TCP comes with; IPv6 if its address is."""
    family, kind = (socket.AF_INET6, 0x21) if ":" in client else (socket.AF_INET, 0x11)
    addresses = socket.inet_pton(family, client) + socket.inet_pton(family, server) + struct.pack("!HH", *ports)
    return header(addresses + b"".join(tlvs), family=kind)


def unix(source: bytes, destination: bytes, *tlvs: bytes) -> bytes:
    return header(source.ljust(108, b"\0") + destination.ljust(108, b"\0") + b"".join(tlvs), family=0x31)


def with_crc(*tlvs: bytes, **places: str) -> bytes:
    """As `binary`, with the checksum as the first of its fields."""
    blank = binary(tlv(3, bytes(4)), *tlvs, **places)  # type: ignore[arg-type]
    at = blank.index(tlv(3, bytes(4)))
    return blank[: at + 3] + struct.pack("!I", crc32c(blank)) + blank[at + 7 :]


def crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 appendix B.4 says it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def ssl(client: int, verify: int, *fields: bytes) -> bytes:
    return tlv(0x20, struct.pack("!BI", client, verify) + b"".join(fields))


# As a Network Load Balancer does for an endpoint service: the endpoint's id, and a checksum.
NLB = with_crc(tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"), tlv(4, b"\0" * 7))
