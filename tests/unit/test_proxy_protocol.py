"""The grammar of the PROXY protocol: tables of bytes, in the order of its specification."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.engine.openings import proxy_protocol
from miniwsgi.daemon.engine.openings.proxy_protocol import (
    LINE_BYTES,
    NOWHERE,
    REST_BYTES,
    Header,
    HeaderError,
    Place,
    Transport,
    crc32c,
    parse_binary,
    parse_line,
)
from miniwsgi.daemon.engine.openings.proxy_variables import variables

from tests.support import proxy_headers as make

LONGEST = b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n"
V6 = "2001:db8::9"


# --- version 1 (section 2.1) ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "transport", "source", "destination"),
    [
        (make.LINE, Transport.TCP4, ("203.0.113.9", "4567"), ("198.51.100.7", "443")),
        (b"PROXY TCP4 0.0.0.0 1.2.3.4 0 65535\r\n", Transport.TCP4, ("0.0.0.0", "0"), ("1.2.3.4", "65535")),
        (b"PROXY TCP6 2001:DB8::9 ::1 1 2\r\n", Transport.TCP6, ("2001:db8::9", "1"), ("::1", "2")),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", Transport.TCP6, ("203.0.113.9", "1"), ("::1", "2")),
        (b"PROXY UNKNOWN\r\n", Transport.UNKNOWN, NOWHERE, NOWHERE),
        (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", Transport.UNKNOWN, NOWHERE, NOWHERE),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Transport.UNKNOWN, NOWHERE, NOWHERE),
    ],
)
def test_a_line(line: bytes, transport: Transport, source: tuple[str, str], destination: tuple[str, str]) -> None:
    assert parse_line(line) == Header(transport, Place(*source), Place(*destination))


def test_the_longest_line() -> None:
    assert parse_line(LONGEST).source.port == "65535"
    assert len(LONGEST) <= LINE_BYTES == 107


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 443\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 443\r\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 443 \r\n",
        b"PROXY TCP4  203.0.113.9 198.51.100.7 4567 443\r\n",
        b"PROXY\tTCP4 203.0.113.9 198.51.100.7 4567 443\r\n",
        b"proxy TCP4 203.0.113.9 198.51.100.7 4567 443\r\n",
        b"PROXY tcp4 203.0.113.9 198.51.100.7 4567 443\r\n",
        b"PROXY TCP5 203.0.113.9 198.51.100.7 4567 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 443 1\r\n",
        b"PROXY TCP4 203.0.113.09 198.51.100.7 4567 443\r\n",
        b"PROXY TCP4 203.0.113.256 198.51.100.7 4567 443\r\n",
        b"PROXY TCP4 203.0.113 198.51.100.7 4567 443\r\n",
        b"PROXY TCP4 203.0.113.9 ::1 4567 443\r\n",
        b"PROXY TCP4 ::1 ::1 4567 443\r\n",
        b"PROXY TCP6 203.0.113.9 198.51.100.7 4567 443\r\n",
        b"PROXY TCP6 ::1%eth0 ::1 4567 443\r\n",
        b"PROXY TCP6 :::1 ::1 4567 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 04567 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 4567 65536\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 -1 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 +1 443\r\n",
        b"PROXY TCP4 localhost 198.51.100.7 1 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.7 1\x00 443\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN \rx\r\n",
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"\r\n",
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(HeaderError) as caught:
        parse_line(line)
    assert caught.value.section == "PROXY protocol section 2.1"


# --- version 2 (section 2.2) ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "transport", "source"),
    [
        (make.binary(), Transport.TCP4, ("203.0.113.9", "4567")),
        (make.binary(client=V6, server="::1"), Transport.TCP6, (V6, "4567")),
        (make.binary(client="::ffff:203.0.113.9", server="::1"), Transport.TCP6, ("203.0.113.9", "4567")),
        (make.binary().replace(b"\x21\x11", b"\x21\x12"), Transport.UDP4, ("203.0.113.9", "4567")),
        (make.unix(b"/run/client", b"/run/server"), Transport.UNIX, ("", "")),
        (make.header(b"", family=0), Transport.UNKNOWN, ("", "")),
        (make.header(make.tlv(2, b"shop"), family=0), Transport.UNKNOWN, ("", "")),
        (make.LOCAL, Transport.LOCAL, ("", "")),
        (make.header(b"whatever", command=0x20, family=0x99), Transport.LOCAL, ("", "")),
        (make.NLB, Transport.TCP4, ("203.0.113.9", "4567")),
    ],
)
def test_a_binary_header(data: bytes, transport: Transport, source: tuple[str, str]) -> None:
    header = parse_binary(data)
    assert (header.transport, header.source) == (transport, source)
    destination = ("::1" if ":" in source[0] or header.transport is Transport.TCP6 else make.SERVER, "443")
    assert header.destination == (destination if header.transport.value[:3] in {"TCP", "UDP"} else NOWHERE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (make.binary().replace(b"QUIT", b"QUIZ"), "signature"),
        (make.header(b"", command=0x11), "version and command 0x11"),
        (make.header(b"", command=0x31), "version and command 0x31"),
        (make.header(b"", command=0x22), "version and command 0x22"),
        (make.header(bytes(300), family=0x41), "family 0x41"),
        (make.header(bytes(300), family=0x10), "family 0x10"),
        (make.header(bytes(300), family=0x13), "family 0x13"),
        (make.header(bytes(11)), "too short for its addresses"),
        (make.header(bytes(35), family=0x21), "too short for its addresses"),
        (make.header(bytes(215), family=0x31), "too short for its addresses"),
        (make.header(bytes(REST_BYTES + 1)), "too long"),
        (make.binary(b"\x01"), "ends behind the header"),
        (make.binary(b"\x01\x00"), "ends behind the header"),
        (make.binary(b"\x01\x00\x05abc"), "ends behind the header"),
        (make.binary(make.tlv(2, b"a"), b"\x01\xff\xff"), "ends behind the header"),
        (make.binary(make.tlv(0x20, bytes(4))), "SSL field of its PROXY header is too short"),
        (make.binary(make.tlv(0x20, bytes(5) + b"\x21\x00\x05TLS")), "ends behind the header"),
        (make.binary(make.tlv(3, bytes(4))), "checksum"),
        (make.binary(make.tlv(3, bytes(3))), "checksum"),
        (make.with_crc(make.tlv(2, b"shop")).replace(b"shop", b"shoq"), "checksum"),
        (make.with_crc().replace(b"\x11\xd7", b"\x11\xd8"), "checksum"),
        (make.binary()[:-1], "length"),
        (make.binary() + b"x", "length"),
    ],
)
def test_what_is_no_binary_header(data: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why) as caught:
        parse_binary(data)
    assert caught.value.section.startswith("PROXY protocol section 2.2")


def test_a_checksum_is_looked_for_at_its_own_place() -> None:
    """Fields before it may hold its type's byte."""
    before = make.tlv(2, b"\x03\x00\x04\x00\x00\x00\x00")
    blank = make.binary(before, make.tlv(3, bytes(4)), make.tlv(1, b"h2"))
    at = blank.rindex(make.tlv(3, bytes(4)))
    data = blank[: at + 3] + make.crc32c(blank).to_bytes(4, "big") + blank[at + 7 :]
    assert parse_binary(data).fields[1] == b"h2"


@pytest.mark.parametrize(
    ("data", "crc"),  # RFC 3720 appendix B.4
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)],
)
def test_the_checksum(data: bytes, crc: int) -> None:
    assert crc32c(data) == make.crc32c(data) == crc


def test_the_first_of_several_fields_of_a_type_counts() -> None:
    assert parse_binary(make.binary(make.tlv(2, b"first"), make.tlv(2, b"second"))).fields[2] == b"first"


def test_no_wrong_byte_is_overlooked() -> None:
    """But in the type of the checksum, without which there is none."""
    data = make.with_crc(make.tlv(2, b"shop"))
    for at in set(range(len(data))) - {data.index(b"\x03\x00\x04")}:
        changed = bytearray(data)
        changed[at] ^= 0x40
        with pytest.raises(HeaderError):
            parse_binary(bytes(changed))


# --- what the application is told -------------------------------------------------------------------------------------
WITH_CERTIFICATE = make.ssl(
    7, 0, make.tlv(0x21, b"TLSv1.3"), make.tlv(0x22, b"alice"), make.tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
    make.tlv(0x24, b"SHA256"), make.tlv(0x25, b"EC256"),
)  # fmt: skip
TCP = {"PROXY_PROTOCOL": "TCP4", "PROXY_ADDR": "198.51.100.7", "PROXY_PORT": "443"}
HTTPS = {"wsgi.url_scheme": "https", "HTTPS": "on"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (make.binary(), TCP),
        (make.unix(b"/a", b"/b"), {"PROXY_PROTOCOL": "UNIX"}),
        (make.header(b"", family=0), {"PROXY_PROTOCOL": "UNKNOWN"}),
        (make.LOCAL, {"PROXY_PROTOCOL": "LOCAL"}),
        (make.NLB, {**TCP, "PROXY_PROTOCOL_TLV_AWS_VPCE_ID": "vpce-08d2bf15fac5001c9"}),
        (make.binary(make.tlv(0xEA, b"\x02other"), make.tlv(0xEE, b"\x01abcd"), make.tlv(0xE0, b"x")), TCP),
        (make.binary(make.tlv(1, b"h2"), make.tlv(2, b"shop.example"), make.tlv(0x30, b"blue")),
         {**TCP, "PROXY_PROTOCOL_TLV_ALPN": "h2", "PROXY_PROTOCOL_TLV_AUTHORITY": "shop.example",
          "PROXY_PROTOCOL_TLV_NETNS": "blue"}),
        (make.binary(make.tlv(5, b"id-1")), {**TCP, "PROXY_PROTOCOL_TLV_UNIQUE_ID": "id-1"}),
        (make.binary(make.tlv(5, b"\x00\xff")), {**TCP, "PROXY_PROTOCOL_TLV_UNIQUE_ID": "00ff"}),
        (make.binary(make.tlv(5, b"")), TCP),
        (make.binary(make.tlv(2, b"a\r\nb"), make.tlv(1, b"\x7f")), TCP),
        (make.binary(make.tlv(2, "bücher".encode())),
         {**TCP, "PROXY_PROTOCOL_TLV_AUTHORITY": "b\xc3\xbccher"}),
        (make.binary(make.ssl(0, 0)), TCP),
        (make.binary(make.ssl(1, 0, make.tlv(0x21, b"TLSv1.2"), make.tlv(0x22, b"mallory"))),
         {**TCP, **HTTPS, "SSL_PROTOCOL": "TLSv1.2", "SSL_CLIENT_VERIFY": "NONE"}),
        (make.binary(WITH_CERTIFICATE),
         {**TCP, **HTTPS, "SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
          "SSL_CLIENT_S_DN_CN": "alice", "SSL_SERVER_A_SIG": "SHA256", "SSL_SERVER_A_KEY": "EC256",
          "SSL_CLIENT_VERIFY": "SUCCESS"}),
        (make.binary(make.ssl(3, 20, make.tlv(0x22, b"alice"))),
         {**TCP, **HTTPS, "SSL_CLIENT_S_DN_CN": "alice", "SSL_CLIENT_VERIFY": "FAILED:20"}),
    ],
)  # fmt: skip
def test_variables(data: bytes, told: dict[str, str]) -> None:
    assert variables(parse_binary(data)) == told


def test_where_tls_ends_here_nothing_is_said_of_the_proxys() -> None:
    assert variables(parse_binary(make.binary(WITH_CERTIFICATE)), ssl=False) == TCP


def test_its_numbers_are_those_of_the_specification() -> None:
    assert proxy_protocol.SIGNATURE == make.SIGNATURE
    assert {kind.name: int(kind) for kind in proxy_protocol.Tlv} == {
        "ALPN": 1, "AUTHORITY": 2, "CRC32C": 3, "NOOP": 4, "UNIQUE_ID": 5, "SSL": 0x20, "NETNS": 0x30, "AWS": 0xEA,
    }  # fmt: skip
