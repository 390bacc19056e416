"""Status and fields of a response: what may go on the wire, what may not, what is left out (RFC 9110 section 5)."""

from __future__ import annotations

import enum

import pytest
from miniwsgi.daemon.http import response
from miniwsgi.daemon.http.response import BadResponse, Encoded, Encodings, early_hints

KEPT = Encodings()


@pytest.fixture(autouse=True)
def fresh_caches():
    for table in (KEPT.fields, KEPT.statuses, KEPT.answers):
        table.clear()


class Text(str):
    """A str that shows itself as something else than it is."""

    __slots__ = ()

    def __format__(self, spec):
        return "formatted\r\nX-Injected: yes"

    __str__ = __repr__ = lambda self: "shown"


class Kind(str, enum.Enum):  # noqa: UP042 - it shows itself as "Kind.PLAIN"
    PLAIN = "text/plain"


@pytest.mark.parametrize(
    "headers",
    [
        [("X-A", "b\r\nX-Injected: c")], [("X-A", "b\n")], [("X-A", "b\r")], [("X-A", "\n")], [("X-A", "b\0")],
        [("X-A", "b\x7f")], [("X-A", "b\x1f")], [("X-A", "\u20ac")], [("X-A", "\ud800")], [("X-A", b"b")], [("X-A", 1)],
        [("X-A", None)], [("X A", "b")], [("X:A", "b")], [("X-A\r\n", "b")], [("", "b")], [("X-\xe4", "b")],
        [(b"X-A", "b")], [(1, "b")], [("X-A",)], [("X-A", "b", "c")], ["X-A: b"], [None], [1], [("X-A", ["b"])],
        [(["X-A"], "b")], [["X-A", 1]], [("Content-Length", "x")], [("Content-Length", "")],
        [("Content-Length", "-1")], [("Content-Length", "+1")],
        [("Content-Length", "1 0")], [("Content-Length", "\u0661")], [("Content-Length", 5)],
        [("Content-Length", "1_0")], [("Content-Length", "9" * 5000)],
        [("Content-Length", "5"), ("content-length", "6")],
    ],
)  # fmt: skip
def test_unfit_fields(headers):
    for _ in range(2):
        with pytest.raises(BadResponse):
            Encoded("200 OK", [("X-Good", "a"), *headers], KEPT)
        if len(headers) == 1:
            with pytest.raises(BadResponse):
                early_hints(headers, KEPT)


@pytest.mark.parametrize(
    "status",
    ["", "OK", "20 OK", "2000 OK", "2000", "20", "200OK", "100",
     "101 Switching Protocols", "103 Early Hints", "199 Odd", " 200 OK", "200\tOK", "200 OK\n", "200 OK\r\nX: y",
     "200 \0", "099 A",
     "200 \u20ac", "\u0662\u0660\u0660 OK", "200 \x7f", b"200 OK", 200, None, ["200 OK"], {}],
)  # fmt: skip
def test_unfit_statuses(status):
    for _ in range(2):
        with pytest.raises(BadResponse):
            Encoded(status, [], KEPT)


@pytest.mark.parametrize("status", ["200 OK", "200 ", "299 Something Special", "999 \xe4\t!", "404 a" + "b" * 5000])
def test_fit_statuses(status):
    for _ in range(2):
        encoded = Encoded(status, [], KEPT)
        assert encoded.code == int(status[:3])
        assert encoded.parts == [b"HTTP/1.1 " + status.encode("latin-1") + b"\r\n"]


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (("X-A", "b"), b"X-A: b\r\n"),
        (["X-A", "b"], b"X-A: b\r\n"),
        (("x-a", ""), b"x-a: \r\n"),
        (("X-A", "caf\xe9\t!"), b"X-A: caf\xe9\t!\r\n"),
        (("X-A", "b" * 9000), b"X-A: " + b"b" * 9000 + b"\r\n"),
        (("Set-Cookie", "a=1"), b"Set-Cookie: a=1\r\n"),
        ((Text("X-A"), Text("b")), b"X-A: b\r\n"),
        (("Content-Type", Kind.PLAIN), b"Content-Type: text/plain\r\n"),
    ],
)
def test_fit_fields(item, line):
    for _ in range(2):
        assert Encoded("200 OK", [item], KEPT).parts[1:] == [line]
    plain = [str.__str__(item[0]), str.__str__(item[1])]
    assert Encoded("200 OK", [tuple(plain)], KEPT).parts[1:] == [line]


def test_a_status_that_shows_itself_as_something_else():
    assert Encoded(Text("200 OK"), [], KEPT).parts == Encoded("200 OK", [], KEPT).parts == [b"HTTP/1.1 200 OK\r\n"]


def test_fields_that_are_alike_are_not_mixed_up():
    encoded = Encoded("200 OK", [("X-A", "1"), ("x-a", "1"), ("X-A", "1 "), ("X-B", "1")], KEPT)
    assert encoded.parts[1:] == [b"X-A: 1\r\n", b"x-a: 1\r\n", b"X-A: 1 \r\n", b"X-B: 1\r\n"]
    for other in (1, True, 1.0, b"1"):
        with pytest.raises(BadResponse):
            Encoded("200 OK", [("X-A", other)], KEPT)


def test_set_cookie_stays_repeated():
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Set-Cookie", "a=1")]
    assert Encoded("200 OK", cookies, KEPT).parts[1:] == [
        b"Set-Cookie: a=1\r\n",
        b"Set-Cookie: b=2\r\n",
        b"Set-Cookie: a=1\r\n",
    ]


HOPS = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]


@pytest.mark.parametrize("name", [*HOPS, "transfer-encoding", "CONNECTION"])
def test_hop_by_hop_fields_are_left_out_and_named(name):
    for _ in range(2):
        encoded = Encoded("200 OK", [(name, "close"), ("X-A", "b")], KEPT)
        assert encoded.parts[1:] == [b"X-A: b\r\n"]
        (mistake,) = encoded.mistakes
        assert mistake.endswith(f"left out: {name}")


def test_several_hop_by_hop_fields():
    (mistake,) = Encoded("200 OK", [(name, "x") for name in HOPS], KEPT).mistakes
    assert mistake.endswith(", ".join(HOPS))
    assert Encoded("200 OK", [("X-A", "b")], KEPT).mistakes == ()


def test_a_status_without_a_reason_is_sent_with_its_space_and_told():
    for _ in range(2):
        encoded = Encoded("200", [], KEPT)
        assert (encoded.code, encoded.parts) == (200, [b"HTTP/1.1 200 \r\n"])
        assert 'the status "200" has no reason' in encoded.mistakes[0]
    assert Encoded("200 ", [], KEPT).mistakes == ()
    assert len(Encoded("200", [("TE", "x")], KEPT).mistakes) == 2


def test_what_is_remembered_is_bounded():
    for n in range(3000):
        Encoded(f"200 {n}", [("X-A", str(n)), (f"X-{n}", "v"), ("Set-Cookie", str(n))], KEPT)
        assert len(KEPT.fields) <= response._KEPT
        assert len(KEPT.statuses) <= response._KEPT
    Encoded("200 " + "a" * 9000, [("X-A", "b" * 9000), ("X" * 9000, "b")], KEPT)
    assert not any(name.lower() == "set-cookie" for name, _ in KEPT.fields)
    assert max(len(name) + len(value) for name, value in KEPT.fields) <= response._KEPT_CHARS
    assert max(map(len, KEPT.statuses)) <= response._KEPT_CHARS
    assert Encoded("200 0", [("X-A", "0")], KEPT).parts == [b"HTTP/1.1 200 0\r\n", b"X-A: 0\r\n"]
