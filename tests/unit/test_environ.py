"""The environ of a request (PEP 3333, RFC 3875), wsgi.input of any kind, and the validator of the standard library."""

from __future__ import annotations

import io
import sys
from wsgiref.validate import validator

import pytest
from miniwsgi.daemon.engine.environ import connection_environ, request_environ, server_software, worker_environ
from miniwsgi.daemon.engine.file_wrapper import FileWrapper
from miniwsgi.daemon.engine.input import EMPTY
from miniwsgi.daemon.engine.mount import Mount
from miniwsgi.daemon.engine.proxy import Proxy
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.head import Limits

from tests.conformance.case import END_CHUNK, chunk, chunked, get, get10, post, request
from tests.unit.call_world import Result, Wire, World, length

LINES = b"first\nsecond line\n\nlast"
BASE = connection_environ(
    worker_environ(
        pool="epoll", slot=3, generation=7, multithread=True, multiprocess=False, errors=io.StringIO(), server="s/1"
    ),
    "example.org", "8000", "192.0.2.1", "4711",
)  # fmt: skip


class Client:
    """One connection, and the environs of its requests."""

    def __init__(self, *, script_name="", proxy=None, memory_bytes=1000, base=BASE):
        self.connection = Connection(Limits(), memory_bytes, base=base)
        self.mount = Mount(script_name)
        self.proxy = proxy

    def environ(self, data):
        assert self.connection.receive(data)
        environ = request_environ(self.connection, self.mount, self.proxy)
        assert type(environ) is dict
        return environ

    def done(self):
        self.connection.finish(True)


def environ(data, **options):
    return Client(**options).environ(data)


@pytest.fixture(params=[1, 4])
def repeated(request):
    """The environ of the last of so many equal requests: some way is taken only when a client repeats itself."""

    def make(data, **options):
        client = Client(**options)
        for _ in range(request.param - 1):
            client.environ(data)
            client.done()
        return client.environ(data)

    return make


# --- names and values ---


def test_all_of_it(repeated):
    seen = repeated(get(b"/a%20b?c=d", b"X-A: b", b"Content-Type: t/x"))
    expected = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a b", "QUERY_STRING": "c=d",
        "RAW_URI": "/a%20b?c=d", "REQUEST_URI": "/a%20b?c=d", "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.org", "SERVER_PORT": "8000", "SERVER_SOFTWARE": "s/1",
        "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "HTTP_HOST": "a", "HTTP_X_A": "b", "CONTENT_TYPE": "t/x",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": EMPTY, "wsgi.errors": BASE["wsgi.errors"],
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper, "wsgi.input_terminated": True,
        "miniwsgi.pool": "epoll", "miniwsgi.slot": 3, "miniwsgi.generation": 7,
        "miniwsgi.connected": BASE["miniwsgi.connected"],
        "miniwsgi.request_id": "", "wsgi.early_hints": None,  # the caller's to set
    }  # fmt: skip
    assert seen == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (get10(), {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": None}),
        (request(b"GET / HTTP/1.7", b"Host: a"), {"SERVER_PROTOCOL": "HTTP/1.1"}),
        (get(b"/", method=b"PURGE"), {"REQUEST_METHOD": "PURGE"}),
        (get(b"*", method=b"OPTIONS"), {"PATH_INFO": "/", "REQUEST_URI": "*", "RAW_URI": "*"}),
        (get(b"/%e4?%e4"), {"PATH_INFO": "/\xe4", "QUERY_STRING": "%e4", "RAW_URI": "/%e4?%e4"}),
        (get(b"http://b:81/c?d"), {"HTTP_HOST": "b:81", "PATH_INFO": "/c", "RAW_URI": "http://b:81/c?d"}),
        (get10(b"http://b/c"), {"HTTP_HOST": "b"}),
        (get(), {"CONTENT_LENGTH": None, "CONTENT_TYPE": None, "HTTPS": None, "REMOTE_USER": None}),
        (post(b"abc"), {"CONTENT_LENGTH": "3", "HTTP_CONTENT_LENGTH": None}),
        (post(b"", b"Content-Type: a/b"), {"CONTENT_LENGTH": "0", "CONTENT_TYPE": "a/b", "HTTP_CONTENT_TYPE": None}),
        (chunked(chunk(b"abc"), END_CHUNK), {"CONTENT_LENGTH": "3", "HTTP_TRANSFER_ENCODING": None}),
        (chunked(END_CHUNK), {"CONTENT_LENGTH": "0"}),
        (get(b"/", b"Transfer-Encoding: chunked", b"Trailer: X-T", body=b"0\r\nX-T: v\r\n\r\n"),
         {"HTTP_TRAILER": None, "HTTP_X_T": None}),
        (get(b"/", b"Trailer: X-T"), {"HTTP_TRAILER": "X-T"}),
        # a client's fields reach no other names
        (get(b"/", b"Remote-Addr: 6.6.6.6", b"Script-Name: /x", b"Path-Info: /y", b"Request-Method: X", b"HTTPS: on",
             b"Remote-User: root", b"Server-Name: evil", b"wsgi.url_scheme: https"),
         {"REMOTE_ADDR": "192.0.2.1", "SCRIPT_NAME": "", "PATH_INFO": "/", "REQUEST_METHOD": "GET", "HTTPS": None,
          "REMOTE_USER": None, "SERVER_NAME": "example.org", "wsgi.url_scheme": "http", "HTTP_REMOTE_ADDR": "6.6.6.6"}),
        (get(b"/", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", b"Forwarded: for=6.6.6.6;proto=https"),
         {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "http", "HTTP_X_FORWARDED_FOR": "6.6.6.6"}),
        (get(b"/", b"Proxy: http://evil/", b"X_A: b"), {"HTTP_PROXY": None, "HTTP_X_A": None}),
    ],
)  # fmt: skip
def test_environ(repeated, data, expected):
    seen = repeated(data)
    assert {name: seen.get(name) for name in expected} == expected


def test_a_unix_socket_has_no_addresses():
    base = connection_environ(BASE, "localhost", "", "", "")
    assert (base["REMOTE_ADDR"], base["REMOTE_PORT"], base["SERVER_PORT"]) == ("", "", "")
    assert BASE["REMOTE_ADDR"] == "192.0.2.1"


def test_server_software():
    assert server_software("1.2") == f"miniwsgi/1.2 Python/{sys.version_info.major}.{sys.version_info.minor}"


# --- fresh for each request ---


def test_each_request_has_a_dict_of_its_own():
    client = Client()
    first = client.environ(get(b"/1", b"X-A: b"))
    for _ in range(5):
        seen = client.environ(get(b"/1", b"X-A: b")) if client.connection.finish(True) else None
        seen["pollution"] = seen["HTTP_POLLUTION"] = "x"
        seen["wsgi.url_scheme"] = seen["SERVER_NAME"] = seen["HTTP_X_A"] = "polluted"
        del seen["HTTP_HOST"]
    client.done()
    assert client.environ(get(b"/1", b"X-A: b")) == first
    assert "pollution" not in BASE


def test_nothing_of_the_last_request_stays():
    client = Client()
    kinds = [
        get(b"/1?q", b"X-A: b"), get(b"/2", b"X-A: b"), get(b"http://b/3", b"X-A: b"), get(b"/4", b"X-A: b"),
        post(b"abc", b"Content-Type: a/b"), get(b"/5"), chunked(chunk(b"a"), END_CHUNK), chunked(END_CHUNK), get(b"/6"),
        request(b"GET / HTTP/1.0", b"Host: a"), get(b"/6"), get(b"/6"), get(b"/6"), get(b"/7", method=b"HEAD"),
    ]  # fmt: skip
    for data in kinds * 3:
        alone, seen = environ(data), client.environ(data)
        assert seen.pop("wsgi.input").read() == alone.pop("wsgi.input").read()
        assert seen == alone
        client.done()


# --- SCRIPT_NAME ---


@pytest.mark.parametrize(
    ("target", "script_name", "path"),
    [
        (b"/app/a", "/app", "/a"), (b"/app", "/app", ""), (b"/app/", "/app", "/"), (b"/app?q", "/app", ""),
        (b"/app//a", "/app", "//a"), (b"/app/app/a", "/app", "/app/a"), (b"http://b/app/a", "/app", "/a"),
        (b"/%61pp/a", "/app", "/a"), (b"/app%2fa", "/app", "/a"), (b"/apple", "", "/apple"), (b"/APP/a", "", "/APP/a"),
        (b"/", "", "/"), (b"/a/app", "", "/a/app"), (b"//app/a", "", "//app/a"), (b"/app%3Fq", "", "/app?q"),
    ],
)  # fmt: skip
def test_script_name_is_split_at_a_segment(repeated, target, script_name, path):
    seen = repeated(get(target), script_name="/app")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (script_name, path)
    assert seen["REQUEST_URI"] == target.decode()


# --- behind a proxy ---


def test_the_word_of_a_trusted_peer(repeated):
    seen = repeated(get(b"/", b"X-Forwarded-For: 192.0.2.9", b"X-Forwarded-Proto: https"), proxy=Proxy(("192.0.2.1",)))
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"], seen["wsgi.url_scheme"]) == ("192.0.2.9", "", "https")


def test_each_request_behind_a_proxy_has_its_own_client():
    client = Client(proxy=Proxy(("192.0.2.1",)))
    for address in ("192.0.2.9", "192.0.2.9", "192.0.2.9", "192.0.2.8", "", "192.0.2.9"):
        data = get(b"/", b"X-Forwarded-For: " + address.encode()) if address else get()
        assert client.environ(data)["REMOTE_ADDR"] == (address or "192.0.2.1")
        client.done()
    assert BASE["REMOTE_ADDR"] == "192.0.2.1"


# --- wsgi.input ---

INPUTS = {
    "in memory": lambda body: environ(post(body))["wsgi.input"],
    "chunked": lambda body: environ(chunked(*(chunk(body[i : i + 3]) for i in range(0, len(body), 3)), END_CHUNK))[
        "wsgi.input"
    ],
    "on disk": lambda body: environ(post(body), memory_bytes=1)["wsgi.input"],
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(
    "calls",
    [
        "read()", "read(-1)", "read(None)", "read(5)", "read(0)", "read(1000)", "read();read()",
        "read();readline();read(5)",
        "read(5);read(7);read()", "read(5);readline()", "readline();readline();readline();readline();readline()",
        "readline(3);readline(3);readline()", "readline(-1)", "readline(100)", "readline(0)", "readlines()",
        "readlines();readlines()", "readlines(3)", "readlines();read()", "readline();readlines()", "next();read()",
        "list();list()", "read(6);list()", "list();read()",
    ],
)  # fmt: skip
def test_reading(kind, calls):
    def play(file):
        for call in calls.split(";"):
            name, _, argument = call.rstrip(")").partition("(")
            arguments = [None if argument == "None" else int(argument)] if argument else []
            yield next(file) if name == "next" else list(file) if name == "list" else getattr(file, name)(*arguments)

    assert list(play(INPUTS[kind](LINES))) == list(play(io.BytesIO(LINES)))


def test_the_next_request_is_out_of_reach():
    client = Client()
    seen = client.environ(post(b"abc") + get(b"/2"))
    assert seen["wsgi.input"].read(1000) == b"abc"
    assert seen["wsgi.input"].read(1000) == b""
    client.done()
    assert client.connection.advance()
    assert client.connection.line.path == "/2"


def test_nothing_to_read():
    file = environ(get())["wsgi.input"]
    assert file is environ(get(b"/other"))["wsgi.input"]
    for call in (file.read, file.readline, file.read1):
        assert call() == call(-1) == call(None) == call(10) == b""
    assert file.readlines() == file.readlines(5) == list(file) == []
    assert next(file, None) is None
    assert file.readinto(bytearray(5)) == 0
    assert (file.seek(0), file.seek(5, 0), file.tell()) == (0, 0, 0)
    assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
    with file as same:
        assert same is file
    file.close()
    assert not file.closed
    assert file.read() == b""
    with pytest.raises(AttributeError):
        file.state = 1


def test_nothing_to_read_can_be_wrapped():
    assert io.BufferedReader(EMPTY).read() == b""
    text = io.TextIOWrapper(EMPTY)
    assert text.read() == ""
    text.close()
    assert EMPTY.read() == b""


# --- the standard library's judge ---


def simple(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read(-1), b"!"]


def sized(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), *length(3)])
    return [b"abc"]


def writing(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one")
    return [b"two"]


def lines(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    environ["wsgi.errors"].write("")
    return [*environ["wsgi.input"].readlines(), environ["wsgi.input"].readline(), *environ["wsgi.input"]]


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Result(b"one", b"two")


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def failing(environ, start_response):
    try:
        start_response("200 OK", [("Content-Type", "text/plain")])
        raise ValueError
    except ValueError:
        start_response("500 Replaced", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"x"]


@pytest.mark.parametrize("data", [get(b"/a%20?b"), get(method=b"HEAD"), get10(), post(LINES),
    chunked(chunk(LINES), END_CHUNK),
                                  get(b"/app/a"), get(b"/app")])  # fmt: skip
@pytest.mark.parametrize("application", [simple, sized, writing, lines, closing, empty, failing])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.filterwarnings("error")
def test_the_validator_has_no_complaints(application, data, full, capsys):
    client = Client(script_name="/app")
    for _ in range(3):
        seen = client.environ(data)
        world = World(seen["REQUEST_METHOD"], client.connection.head.http11, wire=Wire(full=full))
        world.run(validator(application), seen)
        assert world.site.errors == []
        assert world.complete
        assert world.status[:3] == {"empty": "204", "failing": "500"}.get(application.__name__, "200")
        client.done()
    assert capsys.readouterr().err == ""
