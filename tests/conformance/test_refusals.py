"""What the server says to a client that it refuses: nothing of the request, nor which rule it breaks."""

from __future__ import annotations

import re

import pytest

from tests.conformance.case import get, request
from tests.conformance.conftest import Servers
from tests.conformance.exchange import Exchange, Send, run

MARK = b"fingerprint-3bd1"

REFUSED = [
    ("in the target", get(b"/" + MARK + b"#")),
    ("in the method", request(MARK + b"( / HTTP/1.1", b"Host: a")),
    ("in the version", request(b"GET / HTTP/1.x" + MARK, b"Host: a")),
    ("in a name", get(b"/", MARK + b" : x")),
    ("in a value", get(b"/", b"X-A: " + MARK + b"\0")),
    ("in Host", request(b"GET / HTTP/1.1", b"Host: <" + MARK + b">")),
    ("in Content-Length", get(b"/", b"Content-Length: " + MARK)),
    ("in Transfer-Encoding", get(b"/", b"Transfer-Encoding: " + MARK)),
    ("in Expect", get(b"/", b"Expect: " + MARK)),
    ("in a chunk", get(b"/", b"Transfer-Encoding: chunked", body=MARK + b"\r\n")),
]


@pytest.mark.parametrize(("where", "sent"), REFUSED, ids=[where for where, _ in REFUSED])
def test_nothing_is_echoed(where: str, sent: bytes, servers: Servers) -> None:
    asking = Exchange([Send(sent)])
    run([asking], servers().target.address)
    assert asking.outcome is not None
    (response,) = asking.outcome.responses
    assert response.status >= 400
    assert MARK not in response.body
    assert not re.search(rb"RFC|section", response.body)
    assert not any(MARK.decode() in value for field in response.fields for value in field)


@pytest.mark.parametrize(
    "target", [b"*", b"/a#b", b"/" + b"p" * 9000, b"a/b"], ids=["star", "fragment", "long", "no slash"]
)
def test_a_refused_head_has_no_body(target: bytes, servers: Servers) -> None:
    """RFC 9110 section 9.3.2, also where the request line is what is refused."""
    asking = Exchange([Send(b"HEAD " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")], ("HEAD",))
    run([asking], servers().target.address)
    assert asking.outcome is not None
    assert not asking.outcome.violation
    (response,) = asking.outcome.responses
    assert response.status >= 400
