"""The environ as a whole: PEP 3333's keys and types, fresh for each request, nothing from elsewhere."""

from __future__ import annotations

import re

from ..case import chunk, chunked, get, get10, last, one_of, post, refused, served

DIGITS = re.compile("[0-9]+")
NUMBER_OR_NONE = one_of("", None)
FALSE_OR_TRUE = one_of(False, True)
OBJECT = re.compile("<.+>")

GROUPS = {
    "PEP 3333 environ Variables": [
        served("exactly a dict", get(), environ={"(exactly a dict)": True}),
        served("keys are str", get(), environ={"(keys are str)": True}),
        served("values are latin-1", get(b"/%e4", b"X-A: \xe4"),
               environ={"(latin-1)": True}),
        served("nothing of os.environ", get(), environ={"(from os.environ)": [], "HOME": None, "PATH": None,
               "PWD": None}),
        served("required names", get(b"/a?b"), environ={
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a", "QUERY_STRING": "b",
            "SERVER_NAME": re.compile(".+"), "SERVER_PORT": DIGITS, "SERVER_PROTOCOL": "HTTP/1.1",
        }),
        served("wsgi names", get(), environ={
            "wsgi.version": [1, 0], "wsgi.url_scheme": "http", "wsgi.input": OBJECT, "wsgi.errors": OBJECT,
            "wsgi.multithread": FALSE_OR_TRUE, "wsgi.multiprocess": FALSE_OR_TRUE, "wsgi.run_once": FALSE_OR_TRUE,
        }),
        served("wsgi.file_wrapper", get(), environ={"wsgi.file_wrapper": OBJECT}),
        served("wsgi.input_terminated", get(), environ={"wsgi.input_terminated": True}),
        served("wsgi.early_hints in HTTP/1.1", get(), environ={"wsgi.early_hints": OBJECT}),
        last("no wsgi.early_hints in HTTP/1.0", get10(), environ={"wsgi.early_hints": None}),
        served("REMOTE_ADDR is a bare address", get(), environ={"REMOTE_ADDR": re.compile(r"127\.0\.0\.1|::1")}),
        served("REMOTE_PORT", get(), environ={"REMOTE_PORT": DIGITS}),
        served("REMOTE_ADDR is empty on a Unix socket", get(), environ={"REMOTE_ADDR": one_of("", None)}, unix=True),
        served("REMOTE_PORT is nobody's on a Unix socket", get(), environ={"REMOTE_PORT": one_of("", None)}, unix=True),
        served("REMOTE_ADDR is a bare address over IPv6", get(), environ={"REMOTE_ADDR": "::1", "REMOTE_PORT": DIGITS},
               ipv6=True),
        served("kept open on a Unix socket", get(b"/1") + get(b"/2"), 200, 200, paths=("/1", "/2"), unix=True),
        refused("refused on a Unix socket", get(b"/", b"bad"), unix=True, section="RFC 9112 section 5"),
        served("X-Forwarded-For on a Unix socket", get(b"/", b"X-Forwarded-For: 6.6.6.6"),
               environ={"REMOTE_ADDR": one_of("", None)}, unix=True),
        served("SERVER_PORT is text on a Unix socket", get(), environ={"SERVER_PORT": re.compile("[0-9]*")}, unix=True),
        served("chunked on a Unix socket", chunked(chunk(b"abc"), b"0\r\n\r\n"), received=b"abc", unix=True),
        served("no body: no CONTENT_LENGTH, no CONTENT_TYPE", get(), environ={
            "CONTENT_LENGTH": NUMBER_OR_NONE, "CONTENT_TYPE": NUMBER_OR_NONE,
            "HTTP_CONTENT_LENGTH": None, "HTTP_CONTENT_TYPE": None,
        }),
        served("body: CONTENT_LENGTH and CONTENT_TYPE", post(b"abc", b"Content-Type: a/b"), environ={
            "CONTENT_LENGTH": "3", "CONTENT_TYPE": "a/b", "HTTP_CONTENT_LENGTH": None, "HTTP_CONTENT_TYPE": None,
        }),
        served("fields do not reach other names", get(b"/", b"Remote-Addr: 6.6.6.6", b"Script-Name: /x",
               b"Request-Method: X", b"Server-Name: evil", b"Path-Info: /evil"), environ={
            "HTTP_REMOTE_ADDR": "6.6.6.6", "REMOTE_ADDR": one_of("127.0.0.1", "::1"), "SCRIPT_NAME": one_of("", None),
            "REQUEST_METHOD": "GET", "PATH_INFO": "/",
        }),
        served("REMOTE_USER is nobody's", get(b"/", b"Remote-User: root"), environ={"REMOTE_USER": None}),
        served("HTTPS is not set by a client", get(b"/", b"HTTPS: on"), environ={"HTTPS": None}),
        # fresh for each request
        served("a polluted environ is gone", get(b"/mutate") + get(b"/next"), 200, 200, environ={
            "pollution": None, "HTTP_POLLUTION": None, "wsgi.url_scheme": "http", "PATH_INFO": "/next",
            "SCRIPT_NAME": one_of("", None), "SERVER_NAME": lambda value: value != "polluted",
        }),
        served("fields of the last request are gone", get(b"/unread", b"X-A: b", b"Cookie: c=d") + get(), 200, 200,
               environ={"HTTP_X_A": None, "HTTP_COOKIE": None}),
        served("body of the last request is gone", post(b"abc", b"Content-Type: a/b") + get(), 200, 200,
               environ={"CONTENT_LENGTH": NUMBER_OR_NONE, "CONTENT_TYPE": NUMBER_OR_NONE}, received=b""),
        served("same fields, other values", get(b"/1", b"X-A: b") + get(b"/2", b"X-A: c"), 200, 200,
               environ={"HTTP_X_A": "c", "PATH_INFO": "/2"}),
        served("same fields, same values, one more", get(b"/1", b"X-A: b") + get(b"/2", b"X-A: b", b"X-B: c"), 200, 200,
               environ={"HTTP_X_A": "b", "HTTP_X_B": "c"}),
        served("same head, after a polluted environ", get(b"/mutate") + get(b"/mutate") + get(b"/"), 200, 200, 200,
               environ={"pollution": None, "HTTP_POLLUTION": None}),
        served("query of the last request is gone", get(b"/a?b") + get(b"/a"), 200, 200,
               environ={"QUERY_STRING": NUMBER_OR_NONE}),
    ],
    "miniwsgi proxy.trusted: nobody": [
        # forwarded: nobody is trusted unless configured
        served("X-Forwarded-For from anybody", get(b"/", b"X-Forwarded-For: 6.6.6.6"), environ={
            "REMOTE_ADDR": one_of("127.0.0.1", "::1"), "HTTP_X_FORWARDED_FOR": "6.6.6.6",
        }),
        served("X-Forwarded-Proto from anybody", get(b"/", b"X-Forwarded-Proto: https"),
               environ={"wsgi.url_scheme": "http"}),
        served("X-Forwarded-Host and -Port from anybody", get(b"/", b"X-Forwarded-Host: evil", b"X-Forwarded-Port: 1"),
               environ={"HTTP_HOST": "a", "SERVER_PORT": lambda value: value != "1"}),
        served("X-Forwarded-Prefix from anybody", get(b"/", b"X-Forwarded-Prefix: /x", b"Script-Name: /y"),
               environ={"SCRIPT_NAME": one_of("", None), "PATH_INFO": "/"}),
        served("Forwarded from anybody", get(b"/", b'Forwarded: for=6.6.6.6;proto=https;host=evil'),
               environ={"REMOTE_ADDR": one_of("127.0.0.1", "::1"), "wsgi.url_scheme": "http", "HTTP_HOST": "a"}),
    ],
    "PEP 3333 Input and Error Streams": [
        # wsgi.errors
        served("wsgi.errors takes text", get(b"/errors"), body=b"logged"),
    ],
}  # fmt: skip
