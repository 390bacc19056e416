"""The scanner of heads: its tables, its edges beside pages that may not be touched, and the plain parser's opinion.

The tables are in C (tests/support/scan/tables.c), so that they also run on processors that have no Python here.
"""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.head import Limits

from tests.fuzz import atheris
from tests.fuzz.mutations import SEEDS, mutated
from tests.support.effort import SEED, effort
from tests.support.scanning import SCALAR, Request, Scanner, build, compilers

BROWSER = (
    b"GET /shop/items/7?page=2 HTTP/1.1\r\nHost: shop.example:8000\r\nConnection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n"
    b'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\n'
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari\r\n"
    b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n"
    b"Sec-Fetch-Mode: navigate\r\nReferer: https://shop.example/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\nCookie: session=8f14e45f; theme=dark\r\n\r\n"
)
USUAL = (
    b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    b"HEAD /caf%C3%A9/%2e?q=%20 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Empty:\r\nX-Tab:\tb\t\r\n\r\n",
    b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    BROWSER,
)
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
LIMITS = Limits(
    request_line_bytes=1 << 20, field_bytes=1 << 20, fields_bytes=1 << 20, body_max_bytes=10**9
)  # the caller has them


@pytest.fixture(scope="module", params=["", SCALAR], ids=["as it comes", "scalar"])
def scanner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scanner:
    """See Scanner; with the processor's instructions, and without."""
    library = tmp_path_factory.mktemp("scanner") / "scan.so"
    return Scanner(build("library.c", library, "-shared", "-fPIC", *filter(None, [request.param])))


@pytest.mark.parametrize("option", ["-O2", "-O3", SCALAR])
def test_the_tables_hold_beside_pages_that_may_not_be_touched(tmp_path: Path, option: str) -> None:
    heads = effort(20_000, 2_000_000)
    for number, compiler in enumerate(compilers()):
        program = build("tables.c", tmp_path / f"tables-{number}", option, using=compiler)
        done = subprocess.run([program, str(heads)], capture_output=True, text=True, timeout=600)
        assert (done.returncode, done.stderr) == (0, "")


def plainly(data: bytes) -> Request | None:
    """The request that begins here, as the plain parser reads it; None: it refuses it, or waits for more."""
    connection = Connection(LIMITS)
    try:
        connection.receive(data)
        line, head = connection.line, connection.head
        if line is None or head is None:
            return None
        return Request(
            size=data.index(head.raw) + len(head.raw),
            method=line.method,
            target=line.target,
            path=line.path,
            query=line.query,
            http11=line.http11,
            fields=dict(head.fields),
            length=head.length,
            persistent=head.persistent,
        )
    except ProtocolError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("data", USUAL)
def test_what_clients_usually_send_is_read_and_as_plainly(scanner: Scanner, data: bytes) -> None:
    found = scanner.read(data)
    assert found is not None
    assert found == plainly(data)
    assert scanner.read(data[: found.size - 1]) is None


def test_what_is_read_the_plain_parser_reads_too(scanner: Scanner) -> None:
    chance = random.Random(SEED)
    read = 0
    for number in range(effort(10_000, 1_000_000)):
        data = USUAL[number] if number < len(USUAL) else mutated(chance, (*SEEDS, *USUAL), USUAL)
        scanner.holds(data)
        found = scanner.read(data)
        if found is not None:
            read += 1
            assert found == plainly(data), data
    assert read > effort(2_000, 200_000)


def test_the_promises_hold_for_what_the_fuzzer_has_found(scanner: Scanner) -> None:
    inputs = atheris.corpus("scan")
    assert inputs
    for data in (*inputs, *SEEDS):
        scanner.holds(data)


def test_every_byte_of_a_name_a_method_a_target_and_a_host_is_the_grammars(scanner: Scanner) -> None:
    for byte in (bytes([number]) for number in range(256)):
        is_token = TOKEN.fullmatch(byte) is not None
        assert bool(scanner.meta_variable(byte)) is (is_token and byte != b"_")
        assert (scanner.request_line(byte + b" / HTTP/1.1") is not None) is is_token
        for target in (b"/" + byte, b"/?" + byte):
            expected = plainly(b"GET " + target + b" HTTP/1.0\r\n\r\n") is not None
            assert (scanner.request_line(b"GET " + target + b" HTTP/1.0") is not None) is expected, target
        for host in (byte, b"a" + byte, b"a:" + byte):
            if scanner.host(host):
                assert plainly(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") is not None, host


@pytest.mark.parametrize("alphabet", [b"%0", b"%%4aGf/", b"%c3\xc3%A9?"])
def test_a_path_is_decoded_as_the_standard_library_does(scanner: Scanner, alphabet: bytes) -> None:
    chance = random.Random(SEED)
    for _ in range(effort(2_000, 200_000)):
        path = bytes(chance.choice(alphabet) for _ in range(chance.randrange(14)))
        assert scanner.unescape(path) == unquote_to_bytes(path)


def test_a_head_of_more_lines_than_there_is_room_for_is_not_read(scanner: Scanner) -> None:
    head = b"GET / HTTP/1.0\r\nX-A: b\r\nX-B: c\r\n\r\n"
    assert scanner.lines(head, 2)[0] == -1
    assert scanner.lines(head, 3) == (len(head), [b"GET / HTTP/1.0", b"X-A: b", b"X-B: c"], False)
