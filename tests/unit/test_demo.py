"""The demo application: valid WSGI, safe with hostile input, and right for HEAD."""

import io
import json
import os
import re
import time
from html.parser import HTMLParser
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from miniwsgi.daemon import demo

PATHS = ["/", "/json", "/sleep?ms=0", "/echo", "/stream?lines=2&ms=0", "/big?kb=1"]


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body
        self.text = body.decode()


def call(target, method="GET", body=b"", **environ):
    """Call the application through wsgiref's validator, which raises for whatever PEP 3333 forbids."""
    path, _, query = target.partition("?")
    environ = {
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "RAW_URI": target,
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    if body and "CONTENT_LENGTH" not in environ:
        environ["CONTENT_LENGTH"] = str(len(body))
    setup_testing_defaults(environ)
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((status, headers))

    result = validator(demo.application)(environ, start_response)
    try:
        received = b"".join(result)
    finally:
        result.close()
    ((status, headers),) = started
    return Answer(status, headers, received)


class Page(HTMLParser):
    """The elements, the links, and the facts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.facts = [], [], {}
        self._open, self._label = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open = tag
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "dt":
            self._label = data
        elif self._open == "dd":
            self.facts[self._label] = data


def test_the_page_tells_who_answered():
    environ = {"miniwsgi.slot": 3, "miniwsgi.pool": "epoll", "miniwsgi.generation": 7, "wsgi.multithread": True}
    answer = call("/", **environ)
    assert answer.status == "200 OK"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    facts = Page(answer.text).facts
    assert (facts["worker"], facts["slot"], facts["pool"], facts["generation"], facts["threads"]) == (
        str(os.getpid()), "3", "epoll", "7", "yes",
    )  # fmt: skip
    assert re.fullmatch(r"3\.\d+\.\d+\S*", facts["python"])


def test_the_page_needs_nothing_from_elsewhere_and_its_links_work():
    page = Page(call("/").text)
    assert "script" not in page.tags
    assert not [link for link in page.links if ":" in link or link.startswith("/")]
    assert {link.partition("?")[0] for link in page.links} == {"sleep", "stream", "echo", "big", "json", "error"}
    for link in page.links:
        if link not in ("error", "stream"):
            assert call(f"/{link}").status == "200 OK"


def test_a_server_that_is_not_miniwsgi_will_do():
    facts = Page(call("/").text).facts
    assert facts["slot"] == "–"
    assert facts["threads"] == "no"


def test_json_has_the_facts_of_the_page():
    answer = call("/json", **{"miniwsgi.slot": 0})
    facts = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert (facts["worker"], facts["slot"], facts["threads"]) == (os.getpid(), 0, False)
    assert 0 < facts["uptime_seconds"] < 86_400


def test_each_process_counts_its_own_requests():
    first = json.loads(call("/json").body)["requests"]
    assert json.loads(call("/json").body)["requests"] == first + 1
    pid = os.fork()
    if pid == 0:
        os._exit(0 if json.loads(call("/json").body)["requests"] == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert json.loads(call("/json").body)["requests"] == first + 2


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_header_of_get_and_no_body(path):
    get, head = call(path), call(path, "HEAD")
    assert head.body == b""
    assert head.status == get.status
    for name in ("content-type", "content-length", "cache-control"):
        if path not in ("/", "/json") or name != "content-length":  # these two count and tell the time
            assert head.headers.get(name) == get.headers.get(name)
    assert ("content-length" in head.headers) == ("content-length" in get.headers)
    assert int(get.headers.get("content-length", len(get.body))) == len(get.body)


def test_an_unknown_path_is_404_as_text():
    answer = call("/nothing<script>")
    assert answer.status == "404 Not Found"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "script" not in answer.text
    assert call("/nothing", "HEAD").body == b""


def test_other_methods_are_refused_but_for_echo():
    answer = call("/", "POST", b"x")
    assert answer.status == "405 Method Not Allowed"
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("target", "range"),
    [
        (f"/{path}={value}", expected)
        for value in ("abc", "-1", "1.5", "", "%00", "%D9%A1", "1e3", "9" * 50)
        for path, expected in [
            ("sleep?ms", "ms must be a whole number from 0 to 60000"),
            ("stream?lines", "lines must be a whole number from 0 to 1000"),
            ("stream?ms", "ms must be a whole number from 0 to 10000"),
            ("big?kb", "kb must be a whole number from 0 to 102400"),
        ]
    ]
    + [("/sleep?ms=60001", "0 to 60000"), ("/big?kb=102401", "0 to 102400"), ("/stream?lines=1001", "0 to 1000")],
)
def test_a_bad_value_is_400_and_says_what_was_expected(target, range):
    answer = call(target)
    assert answer.status == "400 Bad Request"
    assert answer.headers["content-type"].startswith("text/plain")
    assert range in answer.text


def test_sleep_sleeps():
    before = time.monotonic()
    assert call("/sleep?ms=30").text.startswith("slept 30 ms")
    assert time.monotonic() - before >= 0.03


def test_big_is_as_big_as_asked():
    answer = call("/big?kb=130")
    assert len(answer.body) == 130 * 1024
    assert answer.headers["content-length"] == str(130 * 1024)
    assert set(map(len, answer.body.splitlines())) == {63}
    assert call("/big?kb=0").body == b""


def test_stream_comes_line_by_line():
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/stream", "QUERY_STRING": "lines=3&ms=0"}
    lines = list(demo.application(environ, lambda *_: None))
    assert [line.split(b" from")[0] for line in lines] == [b"line 1 of 3", b"line 2 of 3", b"line 3 of 3"]
    assert call("/stream?lines=0").body == b""


def test_error_raises():
    with pytest.raises(RuntimeError, match="/error of the demo"):
        call("/error")


# --- echo ---------------------------------------------------------------------------------------------------


def test_echo_shows_the_fields_of_the_request():
    facts = Page(call("/echo?a=1", HTTP_X_ONE="two", HTTP_USER_AGENT="curl/8").text).facts
    assert facts["X-One"] == "two"
    assert facts["User-Agent"] == "curl/8"
    assert facts["QUERY_STRING"] == "a=1"


def test_what_comes_from_the_request_does_not_become_html():
    hostile = "</dd></style><script>alert(1)</script>\"'&<img src=x>"
    answer = call(
        f"/echo?{hostile}",
        **{"HTTP_X_A": hostile, f"HTTP_{hostile}": "v", "SCRIPT_NAME": f"/{hostile}", "REMOTE_ADDR": hostile},
    )
    page = Page(answer.text)
    assert not {"script", "img"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert answer.text.count("&lt;script&gt;") >= 4
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_home_page_escapes_what_a_server_tells():
    hostile = {f"miniwsgi.{name}": "<script>" for name in ("slot", "pool", "generation")}
    assert "<script>" not in call("/", SERVER_SOFTWARE="<script>", **hostile).text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_echo_returns_the_body(method):
    body = bytes(range(128)) * 2000
    answer = call("/echo", method, body)
    assert answer.body == body
    assert answer.headers["content-length"] == str(len(body))


def test_echo_never_takes_over_the_clients_content_type():
    answer = call("/echo", "POST", b"<script>alert(1)</script>", CONTENT_TYPE="text/html")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_echo_of_a_body_without_a_length():
    environ = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    assert call("/echo", "POST", b"chunked", **environ).body == b"chunked"
    assert call("/echo", "POST", b"unknown", CONTENT_LENGTH="").body == b""
    assert call("/echo", "POST", b"12345", CONTENT_LENGTH="3").body == b"123"
