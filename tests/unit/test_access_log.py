"""The access log: gunicorn's atoms with gunicorn's meanings, and nothing that a client can forge."""

import base64
import json
import os
import re
import time

import pytest
from miniwsgi.daemon.log import access_format
from miniwsgi.daemon.log.access_format import compile_format
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.log.error_log import Writer

ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/caf%C3%A9/a%20b?x=1&y=2",
    "PATH_INFO": "/caf\xc3\xa9/a b",
    "QUERY_STRING": "x=1&y=2",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "text/plain",
    "HTTP_REFERER": "https://example.org/",
    "HTTP_USER_AGENT": "curl/8.0",
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "wsgi.url_scheme": "http",
    "miniwsgi.slot": 3,
}
HEADERS = [("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
DURATION_NS = 12_345_678_901


class Kept:
    def __init__(self):
        self.lines = []
        self.notice = None

    def put(self, line):
        self.lines.append(line)


def render(format, environ=ENVIRON, status="200 OK", headers=HEADERS, size=1234, duration=DURATION_NS):
    writer = Kept()
    AccessLog("-", format, writer=writer).log(environ, status, headers, size, duration)
    (line,) = writer.lines
    assert line.endswith(b"\n")
    return line[:-1].decode()


@pytest.fixture
def noon(monkeypatch):
    """Twelve o'clock, in a zone with half an hour in its offset."""
    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    monkeypatch.setattr(access_format.time, "time", lambda: 1795156200.25)
    monkeypatch.setattr(access_format, "_second", (-1, ""))
    yield
    monkeypatch.undo()
    time.tzset()
    access_format._second = (-1, "")


def test_the_combined_format(noon):
    assert render("combined") == (
        '192.0.2.7 - - [20/Nov/2026:12:00:00 +0530] "GET /caf%C3%A9/a%20b?x=1&y=2 HTTP/1.1" 200 1234 '
        '"https://example.org/" "curl/8.0"'
    )


def test_the_common_format(noon):
    assert render("common") == (
        '192.0.2.7 - - [20/Nov/2026:12:00:00 +0530] "GET /caf%C3%A9/a%20b?x=1&y=2 HTTP/1.1" 200 1234'
    )


@pytest.mark.parametrize(
    ("atom", "shown"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /caf%C3%A9/a%20b?x=1&y=2 HTTP/1.1"),
        ("m", "GET"),
        ("U", "/caf\\xc3\\xa9/a b"),
        ("q", "x=1&y=2"),
        ("H", "HTTP/1.1"),
        ("s", "200"),
        ("B", "1234"),
        ("b", "1234"),
        ("f", "https://example.org/"),
        ("a", "curl/8.0"),
        ("T", "12"),
        ("M", "12345"),
        ("D", "12345678"),
        ("L", "12.345678"),
        ("{x-forwarded-for}i", "198.51.100.1"),
        ("{X-Forwarded-For}i", "198.51.100.1"),
        ("{content-type}i", "text/plain"),
        ("{missing}i", "-"),
        ("{content-type}o", "text/html"),
        ("{Set-Cookie}o", "a=1, b=2"),
        ("{missing}o", "-"),
        ("{request_method}e", "GET"),
        ("{REQUEST_METHOD}e", "GET"),
        ("{wsgi.url_scheme}e", "http"),
        ("{miniwsgi.slot}e", "3"),
        ("{missing}e", "-"),
    ],
)
def test_atoms(atom, shown):
    assert render(f"%({atom})s") == shown


def test_the_process_is_the_one_that_logs():
    render_line = compile_format("%(p)s")
    assert render_line({}, "", [], 0, 0) == f"<{os.getpid()}>\n".encode()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if render_line({}, "", [], 0, 0) == f"<{os.getpid()}>\n".encode() else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_time_is_taken_anew_each_second_and_does_not_follow_the_locale(monkeypatch, noon):
    assert render("%(t)s") == "[20/Nov/2026:12:00:00 +0530]"
    monkeypatch.setattr(access_format.time, "time", lambda: 1795156200.99)
    assert render("%(t)s") == "[20/Nov/2026:12:00:00 +0530]"
    monkeypatch.setattr(access_format.time, "time", lambda: 1795156201.0)
    assert render("%(t)s") == "[20/Nov/2026:12:00:01 +0530]"


def test_no_body_is_a_dash_in_b_and_a_zero_in_B():
    assert render("%(b)s %(B)s", size=0) == "- 0"


def test_numbers_may_be_asked_for_as_such():
    assert render("%(D)d %(B)d") == "12345678 1234"


def test_the_rest_of_a_format_string_stays_as_it_is():
    assert render("100%% {a} ü\t%(m)s%%s é") == "100% {a} ü\tGET%s é"


# --- who ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "shown"),
    [
        ("Basic " + base64.b64encode(b"ann:secret").decode(), "ann"),
        ("basic   " + base64.b64encode(b"ann:se:cret").decode(), "ann"),
        ("Basic " + base64.b64encode(b":secret").decode(), "-"),
        ("Basic " + base64.b64encode(b"secret").decode(), "-"),  # no colon: this may be a password
        ("Basic " + base64.b64encode(b'a "b"\n[x]:p').decode(), "a\\x20\\x22b\\x22\\x0a[x]"),
        ("Basic " + base64.b64encode("jörg:p".encode()).decode(), "j\\xc3\\xb6rg"),
        ("Basic !", "-"),
        ("Basic \xff\xff", "-"),
        ("Basic", "-"),
        ("Bearer abc", "-"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_the_user_of_basic_authentication(credentials, shown):
    assert render("%(u)s", {**ENVIRON, "HTTP_AUTHORIZATION": credentials}) == shown


def test_an_address_with_spaces_does_not_shift_the_columns():
    assert render("%(h)s", {"REMOTE_ADDR": 'a b"'}) == "a\\x20b\\x22"
    assert render("%(h)s", {"REMOTE_ADDR": ""}) == "-"  # a Unix socket


# --- what is not there --------------------------------------------------------------------------------------


def test_a_request_that_was_rejected_before_it_had_an_environ(noon):
    assert render("combined", {"REMOTE_ADDR": "127.0.0.1"}, "400 Bad Request", [], 15) == (
        '127.0.0.1 - - [20/Nov/2026:12:00:00 +0530] "-" 400 15 "-" "-"'
    )
    assert render("%(h)s %(u)s %(r)s %(m)s %(U)s %(q)s %(H)s %(s)s", {}, "") == "- - - - - - - -"


def test_a_target_that_is_not_kept_is_put_together():
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/s", "PATH_INFO": "/p", "SERVER_PROTOCOL": "HTTP/1.0"}
    assert render("%(r)s", environ) == "GET /s/p HTTP/1.0"
    assert render("%(r)s", {**environ, "QUERY_STRING": "q"}) == "GET /s/p?q HTTP/1.0"
    assert render("%(r)s", {**environ, "REQUEST_URI": "/raw"}) == "GET /raw HTTP/1.0"
    assert render("%(r)s", {"REQUEST_METHOD": "GET"}) == "GET - -"


def test_what_an_application_left_in_the_environ_does_not_break_the_log():
    environ = dict.fromkeys(ENVIRON, None) | {"HTTP_AUTHORIZATION": 7, "HTTP_REFERER": ["x"], "PATH_INFO": 5}
    for format in ("combined", "json", "%(U)s %(q)s %({remote_addr}e)s"):
        assert render(format, environ)


# --- forging ------------------------------------------------------------------------------------------------

HOSTILE = [chr(code) for code in range(0x100)] + ["\u2028", "\ud800", "\U0001f600", '" 200 1 "-" "-"\n127.0.0.1']


@pytest.mark.parametrize("format", ["combined", '"%(f)s" "%(a)s" "%({x}i)s" "%({x}o)s" "%({X}e)s" "%(U)s"'])
def test_no_value_leaves_its_quotes_or_its_line(format, noon):
    expected = render(format, {**ENVIRON, "HTTP_X": "v", "X": "v"}, headers=[("x", "v")]).count('"')
    for value in HOSTILE:
        text = f"a{value}b"
        environ = {**ENVIRON, "HTTP_REFERER": text, "HTTP_USER_AGENT": text, "RAW_URI": text, "PATH_INFO": text}
        line = render(format, {**environ, "HTTP_X": text, "X": text}, headers=[("x", text)])
        assert line.isascii()
        assert line.isprintable()
        assert line.count('"') == expected, text
        assert not re.search(r"\\(?!x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", line)


def test_what_is_escaped_and_how():
    shown = render("%(a)s", {"HTTP_USER_AGENT": 'a"b\\c\n\x00\x7f\xe9\u20ac~ !'})
    assert shown == "a\\x22b\\x5cc\\x0a\\x00\\x7f\\xe9\\u20ac~ !"


def test_an_escape_sequence_cannot_be_imitated():
    assert render("%(a)s", {"HTTP_USER_AGENT": "\\x22"}) == "\\x5cx22"


def test_quotes_and_backslashes_of_the_format_itself_stay():
    assert render('\\ "%(m)s" %(a)s', {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": '"'}) == '\\ "GET" \\x22'


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_breaks_the_json(value):
    text = f"a{value}b"
    environ = dict.fromkeys(("REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "HTTP_REFERER"), text)
    line = render("json", {**environ, "HTTP_USER_AGENT": text, "miniwsgi.request_id": text}, status=text)
    assert line.isascii()
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["referer"] == entry["user_agent"] == entry["request_id"] == entry["method"] == text
    assert entry["status"] is None


# --- JSON ---------------------------------------------------------------------------------------------------


def test_json(noon):
    line = render("json", {**ENVIRON, "miniwsgi.request_id": "abc-1"})
    assert json.loads(line) == {
        "time": "2026-11-20T06:30:00.250Z",
        "remote": "192.0.2.7",
        "method": "GET",
        "path": "/caf%C3%A9/a%20b",
        "query": "x=1&y=2",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 1234,
        "duration_ms": 12345.679,
        "referer": "https://example.org/",
        "user_agent": "curl/8.0",
        "request_id": "abc-1",
    }


def test_json_of_what_is_not_there():
    entry = json.loads(render("json", {"REMOTE_ADDR": "127.0.0.1"}, "400 Bad Request", [], 15, 0))
    unknown = {"method", "path", "query", "protocol", "referer", "user_agent"}
    assert {key for key, value in entry.items() if value is None} == unknown
    assert (entry["remote"], entry["status"], entry["bytes"], entry["duration_ms"]) == ("127.0.0.1", 400, 15, 0)
    assert "request_id" not in entry
    assert json.loads(render("json", {"RAW_URI": "/x?"}))["query"] == ""
    assert json.loads(render("json", {"RAW_URI": "/x"}))["query"] is None


def test_json_shows_utf_8_as_what_it_is_and_other_bytes_as_latin_1():
    sent = "naïve €".encode().decode("latin-1")
    assert json.loads(render("json", {"HTTP_USER_AGENT": sent}))["user_agent"] == "naïve €"
    assert json.loads(render("json", {"HTTP_USER_AGENT": "\xe9t\xe9"}))["user_agent"] == "été"


# --- wrong formats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "complaint"),
    [
        ("%(x)s", r"unknown atom %\(x\)s.*known are %\(h\)s %\(l\)s .*%\(span_id\)s, and %\(\{name\}i\)s"),
        ("%(h)s %({x}z)s", r"unknown atom %\(\{x\}z\)s"),
        ("%({}i)s", r"unknown atom %\(\{\}i\)s"),
        ("%()s", r"unknown atom %\(\)s"),
        ("%(h)", r"write %\(h\)s"),
        ("%(h)d", r"write %\(h\)s"),
        ("%(D)f", r"write %\(D\)s"),
        ("%h %l", r"stray '%' at position 0"),
        ("100%", r"stray '%' at position 3"),
        ("%(h)s\n%(h)s", "control characters"),
        ("", "empty"),
        ("  ", "empty"),
    ],
)
def test_a_wrong_format_is_refused_at_once_and_opens_nothing(tmp_path, format, complaint):
    with pytest.raises(ValueError, match=complaint):
        AccessLog(str(tmp_path / "log"), format)
    assert not (tmp_path / "log").exists()


# --- where it goes ------------------------------------------------------------------------------------------


def test_it_writes_to_a_file_and_reopens_it(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "%(m)s %(s)s")
    log.log(ENVIRON, "200 OK", [], 0, 0)
    assert log.writer.flush(20)
    path.rename(tmp_path / "access.log.1")
    log.writer.reopen()
    log.log(ENVIRON, "404 Not Found", [], 0, 0)
    assert log.writer.close(20)
    assert (tmp_path / "access.log.1").read_text() == "GET 200\n"
    assert path.read_text() == "GET 404\n"


@pytest.mark.parametrize(("destination", "fd"), [("-", 1), ("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_standard_streams_are_used_by_their_descriptors(destination, fd):
    assert AccessLog(destination).writer.fd == fd


def test_an_unwritable_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no/where"):
        AccessLog(str(tmp_path / "no" / "where"))


@pytest.mark.parametrize(("format", "notice"), [("combined", "# 2 log lines were lost: no space"), ("json", None)])
def test_lost_lines_are_told_as_a_comment_or_as_json(tmp_path, format, notice):
    writer = Writer(str(tmp_path / "log"))
    AccessLog("-", format, writer)
    line = writer.notice(2, "no space").decode()
    if notice:
        assert line == notice + "\n"
    else:
        entry = json.loads(line)
        assert (entry["lost"], entry["message"]) == (2, "2 log lines were lost: no space")
    writer.close(1)


def test_the_fast_way_and_the_careful_way_agree():
    format = '%(h)s "%(r)s" "%(a)s" %(D)s %(b)s'
    plain = compile_format(format)
    careful = compile_format(format + " %({x}i)s")
    expected = plain(ENVIRON, "200 OK", [], 5, 999)[:-1] + b" \\x22\n"
    assert careful({**ENVIRON, "HTTP_X": '"'}, "200 OK", [], 5, 999) == expected


def test_only_so_many_texts_and_none_that_are_long_are_kept_for_json():
    made = []
    kept = access_format._Remembered(lambda text: made.append(text) or f'"{text}"')
    assert [kept["a"], kept["a"]] == ['"a"', '"a"']
    assert [kept["b" * 1000], kept["b" * 1000]] == ['"' + "b" * 1000 + '"'] * 2
    assert made == ["a", "b" * 1000, "b" * 1000]
    for number in range(10 * access_format._KEPT):
        assert kept[str(number)] == f'"{number}"'
        assert len(kept) <= access_format._KEPT
