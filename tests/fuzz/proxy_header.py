"""What holds for any bytes at the beginning of a connection with a PROXY header, against a second reader of it.

However they are cut: the same client is found, or none; of what follows the header no byte is taken; and of what is
taken in pieces nothing is left over that a poller would tell of again.
"""

from __future__ import annotations

import ipaddress
import socket
import zlib
from typing import Any

from miniwsgi.daemon.engine.openings.opening import ClientLeft, Opens, TurnedAway
from miniwsgi.daemon.engine.openings.proxy_header import ProxyHeader
from miniwsgi.daemon.settings import Listener

from tests.support import proxy_headers as make

FOLLOWS = b"\r\nPROXY \x00GET / HTTP/1.1\r\n"
FAMILIES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
PROXY_SEEDS: tuple[bytes, ...] = (
    make.LINE, b"PROXY UNKNOWN\r\n", b"PROXY TCP6 2001:db8::9 ::ffff:1.2.3.4 1 65535\r\n", b"PROXY UNKNOWN a b 1 2\r\n",
    make.binary(), make.binary(client="2001:db8::9", server="::1"), make.LOCAL, make.NLB, make.unix(b"/a", b"/b"),
    make.binary(make.ssl(7, 0, make.tlv(0x21, b"TLSv1.3"), make.tlv(0x22, b"alice"))), make.header(b"", family=0),
    make.with_crc(make.tlv(5, b"\x03\x00\x04"), make.tlv(0x30, b"blue")), b"GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip

Found = tuple[str, int, str, str]  # "ready" with what was taken and who the client is, or "read", or "over"
MORE: Found = ("read", 0, "", "")
NONE: Found = ("over", 0, "", "")


class Pieces:
    """A socket to which the client's bytes come in pieces."""

    def __init__(self) -> None:
        self.here = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        assert 0 < size <= 1 << 16
        if not self.here:
            raise BlockingIOError
        data = self.here[:size]
        if not flags & socket.MSG_PEEK:
            self.here = self.here[size:]
        return data


class Client:
    """What of an opening a step needs."""

    def __init__(self) -> None:
        self.sock: Any = Pieces()
        self.listener = Listener(0, "x", False, "x", "80")
        self.environ = {"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "1"}

    def trusts_peer(self) -> bool:
        return True


def proxy(data: bytes) -> None:
    """The property: what comes of the bytes is what the second reader says, whole and in pieces."""
    whole, pieces = came([data]), came([data[at : at + 1] for at in range(len(data))])
    reference = read(data)
    assert whole == reference, f"{whole} instead of {reference}"
    assert pieces == reference, f"{pieces} in pieces instead of {reference}"
    if reference[0] == "ready":
        assert came([data[: reference[1]], FOLLOWS]) == reference
        at = zlib.crc32(data) % reference[1]
        assert came([data[:at], data[at:] + FOLLOWS]) == reference


def came(pieces: list[bytes]) -> Found:
    """What comes of bytes that arrive so."""
    client: Any = Client()
    step, taken = ProxyHeader(1), 0
    for piece in pieces:
        client.sock.here += piece
        before = len(client.sock.here)
        try:
            opens = step.advance(client, 0)
        except (TurnedAway, ClientLeft):
            return NONE
        taken += before - len(client.sock.here)
        if opens is Opens.READY:
            assert all(value.isprintable() or not value.isascii() for value in client.environ.values())
            return "ready", taken, client.environ["REMOTE_ADDR"], client.environ["REMOTE_PORT"]
        assert opens is Opens.READ
        assert not client.sock.here, "it would be told of again"
    return MORE


# --- the second reader ---


def read(data: bytes) -> Found:
    """Plainly, all at once; only whether there is anything to wait for is looked at closely."""
    if data[:1] == b"\r":
        return _binary(data)
    return _line(data)


def _line(data: bytes) -> Found:
    if not b"PROXY ".startswith(data[:6]):
        return NONE
    end = data.find(b"\n", 0, 107)
    if end < 0:
        return MORE if len(data) < 107 else NONE
    words = data[: end - 1].split(b" ") if data[end - 1 : end] == b"\r" else []
    if words[1:2] == [b"UNKNOWN"] and b"\r" not in data[: end - 1]:
        return "ready", end + 1, "10.0.0.1", "1"
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"}:
        return NONE
    version = 4 if words[1] == b"TCP4" else 6
    if not all(port.isdigit() and str(int(port)).encode() == port and int(port) < 65536 for port in words[4:]):
        return NONE
    try:
        hosts = [ipaddress.ip_address(word.decode("ascii")) for word in words[2:4]]
    except ValueError:
        return NONE
    if any(host.version != version for host in hosts) or b"%" in data[:end]:
        return NONE
    return "ready", end + 1, _shown(hosts[0]), words[4].decode()


def _binary(data: bytes) -> Found:
    if data[:12] != make.SIGNATURE[: len(data)]:
        return NONE
    if len(data) < 16:
        return MORE
    command, family, size = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in {0x20, 0x21} or size > 8192:
        return NONE
    if len(data) < 16 + size:
        return MORE
    whole, rest = data[: 16 + size], data[16 : 16 + size]
    if command == 0x20:
        return "ready", 16 + size, "10.0.0.1", "1"
    if family not in FAMILIES or size < FAMILIES[family] or not _tlvs_are_right(whole, 16 + FAMILIES[family]):
        return NONE
    if not family:
        return "ready", 16 + size, "10.0.0.1", "1"
    if family >= 0x31:
        return "ready", 16 + size, "", ""
    width = 4 if family < 0x20 else 16
    port = int.from_bytes(rest[2 * width : 2 * width + 2], "big")
    return "ready", 16 + size, _shown(ipaddress.ip_address(rest[:width])), str(port)


def _tlvs_are_right(header: bytes, at: int, *, inner: bool = False) -> bool:
    seen: set[int] = set()
    while at < len(header):
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 + size > len(header):
            return False
        kind, value = header[at], header[at + 3 : at + 3 + size]
        if kind not in seen and not inner:
            if kind == 3 and (size != 4 or make.crc32c(_blank(header, at + 3)) != int.from_bytes(value, "big")):
                return False
            if kind == 0x20 and (size < 5 or not _tlvs_are_right(value, 5, inner=True)):
                return False
        seen.add(kind)
        at += 3 + size
    return True


def _blank(header: bytes, at: int) -> bytes:
    return header[:at] + bytes(4) + header[at + 4 :]


def _shown(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(getattr(host, "ipv4_mapped", None) or host)
