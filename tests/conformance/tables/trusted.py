"""Fields of a proxy that is trusted; for the profile that trusts the loopback address and 10.0.0.0/8."""

from __future__ import annotations

from typing import Any

from ..case import Case, get, one_of, served

LOOPBACK = one_of("127.0.0.1", "::1")


def behind(name: str, *lines: bytes, **environ: Any) -> Case:
    names = {"scheme": "wsgi.url_scheme"}
    seen = {names.get(key, key): value for key, value in environ.items()}
    return served(name, get(b"/", *lines), environ=seen, profile="proxied")


GROUPS = {
    "miniwsgi proxy.trusted": [
        behind("no field", REMOTE_ADDR=LOOPBACK, scheme="http"),
        behind("X-Forwarded-For", b"X-Forwarded-For: 192.0.2.1", REMOTE_ADDR="192.0.2.1"),
        behind("X-Forwarded-For, IPv6", b"X-Forwarded-For: 2001:db8::1", REMOTE_ADDR="2001:db8::1"),
        behind("X-Forwarded-For, forged in front", b"X-Forwarded-For: 6.6.6.6, 192.0.2.1", REMOTE_ADDR="192.0.2.1"),
        behind("X-Forwarded-For in two fields", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 192.0.2.1",
               REMOTE_ADDR="192.0.2.1"),
        behind("X-Forwarded-For through another trusted proxy", b"X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.1.2.3",
               REMOTE_ADDR="192.0.2.1"),
        behind("X-Forwarded-For that is no address", b"X-Forwarded-For: <script>", REMOTE_ADDR=LOOPBACK),
        behind("X-Forwarded-For that is empty", b"X-Forwarded-For:", REMOTE_ADDR=LOOPBACK),
        behind("X-Forwarded-Proto", b"X-Forwarded-Proto: https", scheme="https"),
        behind("X-Forwarded-Proto in capitals", b"X-Forwarded-Proto: HTTPS", scheme="https"),
        behind("X-Forwarded-Proto that is no scheme of ours", b"X-Forwarded-Proto: javascript", scheme="http"),
        behind("both", b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https", REMOTE_ADDR="192.0.2.1",
               scheme="https"),
        # a proxy that sets X-Forwarded-* passes the client's own Forwarded through: it is nobody's word but the
        # client's
        behind("Forwarded is not believed", b"Forwarded: for=6.6.6.6;proto=https", REMOTE_ADDR=LOOPBACK, scheme="http"),
        behind("Forwarded is not believed beside X-Forwarded-For", b"Forwarded: for=6.6.6.6;proto=https",
               b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: http", REMOTE_ADDR="192.0.2.1", scheme="http"),
        behind("X-Forwarded-Proto, forged in front", b"X-Forwarded-Proto: https, http", scheme="http"),
        behind("X-Forwarded-For with a port", b"X-Forwarded-For: 192.0.2.1:4711", REMOTE_ADDR="192.0.2.1"),
        behind("X-Forwarded-For, all trusted", b"X-Forwarded-For: 10.0.0.1, 10.0.0.2", REMOTE_ADDR="10.0.0.1"),
        behind("X-Forwarded-For, junk behind the client", b"X-Forwarded-For: 6.6.6.6, junk, 10.0.0.2",
               REMOTE_ADDR="10.0.0.2"),
        behind("underscore does not forge it", b"X_Forwarded_For: 6.6.6.6", REMOTE_ADDR=LOOPBACK),
        behind("Host stays", b"X-Forwarded-Host: other", HTTP_HOST="a"),
    ],
}  # fmt: skip
