"""The Forwarded field (RFC 7239) of a proxy that is trusted and said to set it; for the profile with both."""

from __future__ import annotations

from typing import Any

from ..case import Case, get, one_of, served

LOOPBACK = one_of("127.0.0.1", "::1")


def behind(name: str, *lines: bytes, **environ: Any) -> Case:
    names = {"scheme": "wsgi.url_scheme"}
    seen = {names.get(key, key): value for key, value in environ.items()}
    return served(name, get(b"/", *lines), environ=seen, profile="forwarded")


GROUPS = {
    "RFC 7239 section 4 Forwarded HTTP Header Field": [
        behind("no field", REMOTE_ADDR=LOOPBACK, scheme="http"),
        behind("for and proto", b"Forwarded: for=192.0.2.1;proto=https", REMOTE_ADDR="192.0.2.1", scheme="https"),
        behind("names in any case", b"Forwarded: For=192.0.2.1;PROTO=HTTPS", REMOTE_ADDR="192.0.2.1", scheme="https"),
        behind("quoted IPv6", b'Forwarded: for="[2001:db8::1]"', REMOTE_ADDR="2001:db8::1"),
        behind("quoted IPv6 and port", b'Forwarded: for="[2001:db8::1]:4711"', REMOTE_ADDR="2001:db8::1"),
        behind("the nearest that is not trusted", b"Forwarded: for=6.6.6.6, for=192.0.2.1, for=10.1.2.3",
               REMOTE_ADDR="192.0.2.1"),
        behind("in two fields", b"Forwarded: for=6.6.6.6", b"Forwarded: for=192.0.2.1", REMOTE_ADDR="192.0.2.1"),
        behind("forged in front, quoted comma", b'Forwarded: for="6.6.6.6, for=6.6.6.6", for=192.0.2.1',
               REMOTE_ADDR="192.0.2.1"),
        behind("unknown", b"Forwarded: for=unknown", REMOTE_ADDR=LOOPBACK),
        behind("obfuscated", b"Forwarded: for=_hidden", REMOTE_ADDR=LOOPBACK),
        behind("that is no scheme of ours", b"Forwarded: for=192.0.2.1;proto=javascript", scheme="http"),
        behind("X-Forwarded-For is not believed", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https",
               REMOTE_ADDR=LOOPBACK, scheme="http"),
        behind("X-Forwarded-For is not believed beside it", b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=192.0.2.1",
               REMOTE_ADDR="192.0.2.1"),
        behind("host changes nothing", b"Forwarded: for=192.0.2.1;host=evil", HTTP_HOST="a"),
    ],
}  # fmt: skip
