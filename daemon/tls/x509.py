"""What there is to know of an X.509 certificate (RFC 5280, section 4.1): whom it is for, until when, from whom.

The standard library can load a certificate, but tell nothing of one that no peer has sent. This reads a few fields of
the DER and judges nothing: whether signatures hold is OpenSSL's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NamedTuple

SEQUENCE, SET, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
VERSION, EXTENSIONS = 0xA0, 0xA3  # [0] and [3] of TBSCertificate
DNS_NAME, IP_ADDRESS = 0x82, 0x87  # [2] and [7] of GeneralName
ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}

COMMON_NAME, ORGANIZATION = bytes.fromhex("550403"), bytes.fromhex("55040a")
SUBJECT_ALT_NAME = bytes.fromhex("551d11")
RSA = bytes.fromhex("2a864886f70d010101")
EC = bytes.fromhex("2a8648ce3d0201")
OTHER_KEYS = {
    bytes.fromhex("2b6570"): "Ed25519",
    bytes.fromhex("2b6571"): "Ed448",
    bytes.fromhex("2a8648ce380401"): "DSA",
}
CURVE_BITS = {
    bytes.fromhex("2a8648ce3d030107"): 256,
    bytes.fromhex("2b81040022"): 384,
    bytes.fromhex("2b81040023"): 521,
}


class NotACertificate(Exception):
    """It is no certificate, or damaged."""


class Certificate(NamedTuple):
    """Times are seconds since the epoch."""

    names: tuple[str, ...]  # DNS names and addresses of subjectAltName, in its order, lower case
    subject: str  # its common name, or organization; "" if it has neither
    issuer: str  # likewise
    not_before: int
    not_after: int
    key: str  # "RSA", "EC", "Ed25519" …
    key_bits: int  # 0 where its kind says all
    subject_der: bytes  # to compare: a certificate is followed by that of its issuer
    issuer_der: bytes

    @property
    def is_self_signed(self) -> bool:
        return self.subject_der == self.issuer_der

    @property
    def server_names(self) -> tuple[str, ...]:
        """Whom it is for: without a subjectAltName the common name, as clients of old had it."""
        return self.names or ((self.subject.lower(),) if _is_host(self.subject) else ())


class _Value(NamedTuple):
    """One value of the DER (X.690): its tag, its content, and itself with both."""

    tag: int
    content: bytes
    whole: bytes


def parse(der: bytes) -> Certificate:
    """Raises NotACertificate."""
    try:
        return _parse(der)
    except (IndexError, ValueError, StopIteration, OverflowError):
        raise NotACertificate from None


def _is_host(text: str) -> bool:
    return "." in text and text.isascii() and not any(map(str.isspace, text))


def _parse(der: bytes) -> Certificate:
    fields = list(_values(next(_values(_expect(next(_values(der)), SEQUENCE))).content))
    if fields[0].tag == VERSION:
        del fields[0]
    _serial, _algorithm, issuer, validity, subject, public_key, *more = fields
    not_before, not_after = map(_time, _values(_expect(validity, SEQUENCE)))
    kind, bits = _key(_expect(public_key, SEQUENCE))
    names: tuple[str, ...] = ()
    for value in more:
        if value.tag == EXTENSIONS:
            names = _alternative_names(value.content)
    return Certificate(
        names, _shown_name(subject.content), _shown_name(issuer.content), not_before, not_after, kind, bits,
        subject.whole, issuer.whole,
    )  # fmt: skip


def _values(data: bytes) -> Iterator[_Value]:
    """Those that stand one after another. Raises IndexError, ValueError."""
    at = 0
    while at < len(data):
        begin, tag, length = at, data[at], data[at + 1]
        at += 2
        if length & 0x80:  # so many bytes say it
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("cut off")
        yield _Value(tag, data[at : at + length], data[begin : at + length])
        at += length


def _expect(value: _Value, tag: int) -> bytes:
    if value.tag != tag:
        raise ValueError(f"tag {value.tag:#x}")
    return value.content


def _time(value: _Value) -> int:
    """RFC 5280, section 4.1.2.5: both end with Z."""
    text = value.content.decode("ascii")
    if value.tag == UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    elif value.tag != GENERALIZED_TIME:
        raise ValueError("no time")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _shown_name(name: bytes) -> str:
    """Name ::= SEQUENCE OF SET OF { type, value }: the common name, or the organization."""
    found: dict[bytes, str] = {}
    for one in _values(name):
        for attribute in _values(one.content):
            kind, value = _values(attribute.content)
            found[kind.content] = value.content.decode(ENCODINGS.get(value.tag, "latin-1"), "replace")
    return found.get(COMMON_NAME) or found.get(ORGANIZATION, "")


def _key(info: bytes) -> tuple[str, int]:
    """SubjectPublicKeyInfo: its kind and size."""
    algorithm, bits = _values(info)
    kind, *parameters = _values(_expect(algorithm, SEQUENCE))
    if kind.content == RSA:
        modulus = next(_values(next(_values(_expect(bits, BIT_STRING)[1:])).content))
        return "RSA", int.from_bytes(modulus.content, "big").bit_length()
    if kind.content == EC:
        point = len(bits.content) - 2  # after the count of unused bits and the form: both coordinates
        return "EC", CURVE_BITS.get(parameters[0].content if parameters else b"", point * 4)
    return OTHER_KEYS.get(kind.content, "unknown"), 0


def _alternative_names(content: bytes) -> tuple[str, ...]:
    names = []
    for extension in _values(_expect(next(_values(content)), SEQUENCE)):
        kind, *rest = _values(extension.content)
        if kind.content != SUBJECT_ALT_NAME:
            continue
        for name in _values(next(_values(_expect(rest[-1], OCTET_STRING))).content):
            if name.tag == DNS_NAME:
                names.append(name.content.decode("ascii").lower())
            elif name.tag == IP_ADDRESS:
                names.append(str(ip_address(name.content)))
    return tuple(names)
