"""PEM files (RFC 7468): what is in one, and what is said of one that is something else."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATES = frozenset(("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"))  # what OpenSSL takes as one
DER_SEQUENCE = b"\x30"


class Block(NamedTuple):
    """One object."""

    label: str  # "CERTIFICATE", "PRIVATE KEY", …
    text: str  # with its first and last line

    @property
    def is_certificate(self) -> bool:
        return self.label in _CERTIFICATES

    @property
    def is_key(self) -> bool:
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_encrypted(self) -> bool:
        """PKCS #8 by its label, the forms of old by a header (RFC 1421)."""
        return self.label.startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in self.text

    @property
    def has_lines(self) -> bool:
        """As RFC 7468 wants them: text that went through a variable or a shell often has lost them."""
        return self.text.count("\n") > 1

    def der(self) -> bytes:
        """Raises ValueError."""
        inside = self.text.split("\n", 1)[1].rpartition("\n")[0]
        return binascii.a2b_base64(inside, strict_mode=False)


def blocks(content: bytes) -> list[Block]:
    """All there are, in their order."""
    text = content.decode("latin-1").replace("\r\n", "\n")
    return [Block(match[1], match[0]) for match in _BLOCK.finditer(text)]


def what_else(content: bytes, path: str) -> str:
    """What a file without the block that was looked for is, and what to do, to follow a colon."""
    labels = [block.label for block in blocks(content)]
    if not content.strip():
        return "the file is empty"
    if "CERTIFICATE REQUEST" in labels or "NEW CERTIFICATE REQUEST" in labels:
        return "it is a signing request (CSR): an authority makes a certificate of it"
    if labels:
        return f"what is there is {', '.join(sorted(set(labels)))}"
    if content.startswith(DER_SEQUENCE):
        return (
            f"it is not PEM but DER or PKCS #12: convert it with openssl x509 -inform der -in {path}, or "
            f"openssl pkcs12 -nodes -in {path}"
        )
    return "it is no PEM file, which has lines such as -----BEGIN CERTIFICATE-----"
