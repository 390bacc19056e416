"""What an environ says of TLS, under the names of Apache's mod_ssl (its "Environment Variables")."""

from __future__ import annotations

import ssl
from typing import Any

from .contexts import Session

Name = tuple[tuple[tuple[str, str], ...], ...]  # as SSLSocket.getpeercert gives one

# Attribute types as RFC 4514 section 3 writes them; Python gives them by their long names in OpenSSL.
_SHORT = {
    "commonName": "CN", "countryName": "C", "domainComponent": "DC", "localityName": "L", "organizationName": "O",
    "organizationalUnitName": "OU", "stateOrProvinceName": "ST", "streetAddress": "STREET", "userId": "UID",
}  # fmt: skip
_ESCAPED = str.maketrans({character: f"\\{character}" for character in ',+"\\<>;'})  # RFC 4514 section 2.4


def tls_variables(session: Session) -> dict[str, Any]:
    """Of a connection whose handshake is complete: the same in all of its requests."""
    name, _protocol, bits = session.cipher() or ("", "", 0)
    variables = {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": session.version() or "",
        "SSL_CIPHER": name,
        "SSL_CIPHER_USEKEYSIZE": str(bits),
        "SSL_CLIENT_VERIFY": "NONE",
        "SSL_SESSION_RESUMED": "Resumed" if session.session_reused else "Initial",
    }
    if session.server_name is not None:
        variables["SSL_TLS_SNI"] = session.server_name
    certificate = session.getpeercert()
    if certificate:
        variables.update(_client(certificate))
        variables["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(session.getpeercert(True) or b"")
    return variables


def _client(certificate: dict[str, Any]) -> dict[str, str]:
    """One that was asked for, and is good: any other has ended the handshake."""
    return {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": distinguished_name(certificate["subject"]),
        "SSL_CLIENT_I_DN": distinguished_name(certificate["issuer"]),
        "SSL_CLIENT_S_DN_CN": _first(certificate["subject"], "commonName"),
        "SSL_CLIENT_I_DN_CN": _first(certificate["issuer"], "commonName"),
        "SSL_CLIENT_M_SERIAL": certificate["serialNumber"],
        "SSL_CLIENT_M_VERSION": str(certificate["version"]),
        "SSL_CLIENT_V_START": certificate["notBefore"],
        "SSL_CLIENT_V_END": certificate["notAfter"],
    }


def distinguished_name(name: Name) -> str:
    """RFC 4514: "CN=client,O=Example", the last part first."""
    parts = ["+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in part) for part in name]
    return ",".join(reversed(parts))


def _first(name: Name, kind: str) -> str:
    return next((_as_bytes(value) for part in name for found, value in part if found == kind), "")


def _escape(value: str) -> str:
    value = value.translate(_ESCAPED)
    if value.endswith(" "):
        value = f"{value[:-1]}\\ "
    if value.startswith(("#", " ")):
        value = f"\\{value}"
    return _as_bytes(value)


def _as_bytes(value: str) -> str:
    """PEP 3333, "Unicode Issues": text of an environ is bytes, each a character."""
    return value.encode("utf-8", "replace").decode("latin-1")
