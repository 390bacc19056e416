"""What a PROXY header says, as variables of the environ, under the names that they have in the trade.

PROXY_PROTOCOL, PROXY_ADDR and PROXY_PORT are gunicorn's; the fields are named as nginx names its variables
(`$proxy_protocol_tlv_unique_id`); what the client's TLS was, as Apache's mod_ssl does, as where TLS ends here.
"""

from __future__ import annotations

from .proxy_protocol import ClientFlag, Header, Ssl, SslTlv, Tlv

FIELDS = {
    Tlv.ALPN: "PROXY_PROTOCOL_TLV_ALPN",
    Tlv.AUTHORITY: "PROXY_PROTOCOL_TLV_AUTHORITY",
    Tlv.NETNS: "PROXY_PROTOCOL_TLV_NETNS",
}
UNIQUE_ID = "PROXY_PROTOCOL_TLV_UNIQUE_ID"
AWS_VPCE_ID = "PROXY_PROTOCOL_TLV_AWS_VPCE_ID"
SSL_FIELDS = {
    SslTlv.VERSION: "SSL_PROTOCOL",
    SslTlv.CIPHER: "SSL_CIPHER",
    SslTlv.CN: "SSL_CLIENT_S_DN_CN",
    SslTlv.SIG_ALG: "SSL_SERVER_A_SIG",
    SslTlv.KEY_ALG: "SSL_SERVER_A_KEY",
}
_UNIQUE_ID_BYTES = 128  # section 2.2.5
_AWS_VPCE_ID = 1


def variables(header: Header, *, ssl: bool = True) -> dict[str, str]:
    """Those that change the environ of the connection's requests, but for the client's address.

    Without `ssl` none of TLS: it ends here, and the variables are about that.
    """
    found = {"PROXY_PROTOCOL": header.transport.value}
    if header.destination.host:
        found["PROXY_ADDR"], found["PROXY_PORT"] = header.destination
    for kind, name in FIELDS.items():
        if value := header.fields.get(kind):
            found[name] = _text(value)
    unique_id = header.fields.get(Tlv.UNIQUE_ID, b"")[:_UNIQUE_ID_BYTES]
    found[UNIQUE_ID] = _text(unique_id) if unique_id.isascii() and _text(unique_id) else unique_id.hex()
    aws = header.fields.get(Tlv.AWS, b"")
    if aws[:1] == bytes((_AWS_VPCE_ID,)):
        found[AWS_VPCE_ID] = _text(aws[1:])
    if ssl and header.ssl is not None and header.ssl.client & ClientFlag.SSL:
        found.update(_ssl(header.ssl))
    return {name: value for name, value in found.items() if value}


def _ssl(ssl: Ssl) -> dict[str, str]:
    found = {"wsgi.url_scheme": "https", "HTTPS": "on"}
    found.update({name: _text(ssl.fields[kind]) for kind, name in SSL_FIELDS.items() if kind in ssl.fields})
    if not ssl.client & (ClientFlag.CERT_CONN | ClientFlag.CERT_SESS):
        found["SSL_CLIENT_VERIFY"] = "NONE"
        found.pop("SSL_CLIENT_S_DN_CN", None)
    else:
        found["SSL_CLIENT_VERIFY"] = "SUCCESS" if not ssl.verify else f"FAILED:{ssl.verify}"
    return found


def _text(value: bytes) -> str:
    """As PEP 3333 has text of any coding; "" for what could break a line of a log, or is no text."""
    text = value.decode("latin-1")
    return "" if any(char < " " or char == "\x7f" for char in text) else text
