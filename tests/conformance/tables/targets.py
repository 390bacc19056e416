"""The request target and what becomes of it: PATH_INFO, QUERY_STRING, the raw one (RFC 9112 section 3.2)."""

from __future__ import annotations

from typing import Any

from ..case import (
    RAW_TARGET,
    Case,
    at_once,
    either,
    get,
    get10,
    last,
    one_of,
    post,
    refused,
    request,
    served,
)

BAD_ESCAPES = ("%", "%z", "%zz", "%4", "%4z", "%+1", "%u0041", "%%")
NO_ABSOLUTE_FORM = {
    "with user information": b"http://user:word@b.example/",
    "with a user's name": b"http://u@b/",
    "with a user's name and word": b"http://u:p@b/",
    "with an unclosed bracket": b"http://[::1/c",
    "with an unclosed bracket, without a path": b"http://[::1/",
    "with a bad port": b"http://b:c/",
    "with two ports": b"http://b:80:80/",
    "with a backslash": b"http://b\\c/",
    "with obs-text in its host": b"http://b\xe4/",
}
NO_FORM = {
    "absolute-form of another scheme": b"ftp://b.example/c",
    "absolute-form of ftp": b"ftp://b/c",
    "absolute-form without an authority": b"http:///a",
    "absolute-form with nothing": b"http://",
    "absolute-form with a port alone": b"http://:80/",
    "absolute-form with one slash": b"http:/a",
    "no leading slash": b"a/b",
    "query alone": b"?a",
    "dot": b".",
    "backslash for a slash": b"\\a",
    "mailto:": b"mailto:a@b",
}
NO_TARGET = {
    "fragment": b"/a#b",
    "fragment in the query": b"/a?b#c",
    "fragment, empty": b"/#",
    "fragment alone": b"#",
    "absolute-form with a fragment": b"http://b.example/c#d",
    "NUL in the target": b"/a\0b",
    "control in the target": b"/a\x01b",
    "control in the query": b"/a?\x1f",
    "DEL in the target": b"/a\x7fb",
    "tab in the target": b"/a\tb",
    "empty target": b"",
}


def path(target: bytes, expected: str, name: str = "", query: str = "", **checks: Any) -> Case:
    """The path as the application sees it, the query untouched."""
    raw = target.decode("latin-1")
    environ: dict[str, Any] = {
        "PATH_INFO": expected,
        "QUERY_STRING": query or one_of("", None),
        "SCRIPT_NAME": one_of("", None),
        RAW_TARGET: raw,
        "HTTP_HOST": "a",
    }
    return served(name or f"path {raw}", get(target), environ=environ, **checks)


def odd(target: bytes, expected: str, name: str, query: str = "") -> Case:
    """What is no URI: taken as it is or refused, never half decoded."""
    return path(target, expected, name, query, otherwise=(400,))


def raw(target: bytes) -> Case:
    """The original target is kept in RAW_URI or REQUEST_URI."""
    expected = target.decode("latin-1")
    return served(f"raw target {expected}", get(target), environ={RAW_TARGET: expected})


def absolute(name: str, target: bytes, authority: str, path: str = "/", query: str = "") -> Case:
    environ = {"HTTP_HOST": authority, "PATH_INFO": path, "QUERY_STRING": query or one_of("", None),
               RAW_TARGET: target.decode()}  # fmt: skip
    return served(f"absolute-form {name}", get(target), environ=environ)


GROUPS = {
    "RFC 9112 section 3.2 Request Target": [
        *(refused(name, get(target)) for name, target in NO_FORM.items()),
        *(refused(name, get(target)) for name, target in NO_TARGET.items()),
    ],
    "RFC 9112 section 3.2.1 origin-form": [
        path(b"/", "/"),
        path(b"/a/b.c", "/a/b.c"),
        path(b"/a/", "/a/"),
        path(b"/a%20b", "/a b"),
        path(b"/a+b", "/a+b"),
        path(b"/a%2Fb", "/a/b"),
        path(b"/a%2fb", "/a/b"),
        path(b"/a%2Fb%2fc", "/a/b/c"),
        path(b"/a%252Fb", "/a%2Fb", name="percent-decoded once only"),
        path(b"/%41%42", "/AB"),
        path(b"/a%3Fb", "/a?b"),
        path(b"/a%23b", "/a#b"),
        path(b"/a%3Fb%23c", "/a?b#c"),
        path(b"/%E4", "/\xe4", name="decoded as latin-1"),
        path(b"/%C3%A4", "/\xc3\xa4", name="UTF-8 bytes as latin-1"),
        path(b"/%ff%fe", "/\xff\xfe", name="bytes that are no UTF-8"),
        path(b"//a//b", "//a//b", name="slashes are not folded"),
        path(b"//", "//"),
        path(b"/a/./b/../c", "/a/./b/../c", name="dots are not folded"),
        path(b"/..", "/.."),
        path(b"/%2e%2e/a", "/../a", name="encoded dots are decoded and not folded"),
        path(b"/a;b=c", "/a;b=c"),
        path(b"/!$&'()*,:=@-._~", "/!$&'()*,:=@-._~"),
        path(b"/a:b", "/a:b"),
        path(b"//example.org/a", "//example.org/a", name="a path that looks like an authority"),
        path(b"/http://b/c", "/http://b/c"),
        path(b"/" + b"p" * 4000, "/" + "p" * 4000, name="a path of 4,000 bytes"),
        path(b"/a?b", "/a", query="b"),
        path(b"/a?", "/a"),
        path(b"/?a=b&c=d", "/", query="a=b&c=d"),
        path(b"/?a?b", "/", query="a?b"),
        path(b"/?a/b", "/", query="a/b"),
        path(b"/?a%20b+c%2F", "/", query="a%20b+c%2F", name="the query is not decoded"),
        path(b"/?a%20b+c%2F%zz", "/", query="a%20b+c%2F%zz", name="the query is not decoded, nor looked at"),
        path(b"/?%zz", "/", query="%zz"),
        path(b"/?a=http://b/", "/", query="a=http://b/"),
        path(b"/%3f?%3f", "/?", query="%3f"),
        raw(b"/a%20b"),
        raw(b"/a%2Fb?c%2Fd"),
        raw(b"//a/./b/..//c"),
        raw(b"/?"),
        *(odd(b"/a" + bad.encode() + b"x", f"/a{bad}x", f"bad escape {bad}") for bad in BAD_ESCAPES),
        odd(b"/\xe4", "/\xe4", "obs-text alone"),
        odd(b"/a\xe9", "/a\xe9", "obs-text in the path"),
        odd(b"/\xe4%41", "/\xe4A", "obs-text in front of an escape"),
        odd(b"/?\xe9", "/", "obs-text in the query", query="\xe9"),
        odd(b"/?\xe4", "/", "obs-text for a query", query="\xe4"),
        served("OPTIONS with a path", get(b"/a", method=b"OPTIONS"), environ={"PATH_INFO": "/a"}),
    ],
    "RFC 9112 section 3.2.2 absolute-form": [
        absolute("with a path", b"http://b.example/c?d", "b.example", "/c", "d"),
        absolute("with a port", b"http://b.example:8080/c", "b.example:8080", "/c"),
        absolute("without a path", b"http://b.example", "b.example"),
        absolute("without a path, with a query", b"http://b.example?d", "b.example", query="d"),
        absolute("with an empty query", b"http://b.example/?", "b.example"),
        absolute("in capitals", b"HTTP://B.example/c", "B.example", "/c"),
        absolute("to an IPv6 address", b"http://[::1]:80/c", "[::1]:80", "/c"),
        absolute("with an escape", b"http://b.example/c%20d", "b.example", "/c d"),
        absolute("with two slashes in its path", b"http://b.example//c", "b.example", "//c"),
        absolute("of https", b"https://b.example/c", "b.example", "/c"),
        served("absolute-form with an empty port", get(b"http://b.example:/c"), environ={"PATH_INFO": "/c"}),
        last("absolute-form in HTTP/1.0", get10(b"http://b.example/c"),
             environ={"PATH_INFO": "/c", "HTTP_HOST": "b.example"}),
        served("absolute-form with POST", post(b"abc", target=b"http://b.example/c"), received=b"abc",
               environ={"PATH_INFO": "/c", "HTTP_HOST": "b.example"}),
        served("absolute-form, then origin-form", get(b"http://b.example/1") + get(b"/2"), 200, 200,
               paths=("/1", "/2"), environ={"HTTP_HOST": "a"}),
        *(refused(f"absolute-form {name}", get(target)) for name, target in NO_ABSOLUTE_FORM.items()),
        refused("absolute-form and an invalid Host", request(b"GET http://b.example/ HTTP/1.1", b"Host: a b"),
                section="RFC 9112 section 3.2"),
        refused("absolute-form and two Hosts",
                request(b"GET http://b.example/ HTTP/1.1", b"Host: a", b"Host: b.example"),
                section="RFC 9112 section 3.2"),
    ],
    "RFC 9112 section 3.2.3 authority-form": [
        refused("authority-form with GET", get(b"a:443"), section="RFC 9112 section 3.2"),
        refused("CONNECT", request(b"CONNECT a:443 HTTP/1.1", b"Host: a:443"), 501, otherwise=(405,),
                section="RFC 9110 section 9.3.6"),
        refused("CONNECT to another", get(b"a:443", method=b"CONNECT"), 501, otherwise=(405,),
                section="RFC 9110 section 9.3.6"),
        refused("CONNECT in HTTP/1.0", request(b"CONNECT a:443 HTTP/1.0"), 501, otherwise=(405,),
                section="RFC 9110 section 9.3.6"),
        *(refused(f"CONNECT {target.decode()}", get(target, method=b"CONNECT"), 501, otherwise=(either(400, 405),),
                  section="RFC 9110 section 9.3.6") for target in (b"/", b"/a", b"*")),
    ],
    "RFC 9112 section 3.2.4 asterisk-form": [
        served("OPTIONS *", get(b"*", method=b"OPTIONS"),
               environ={"PATH_INFO": one_of("*", "", "/"), "REQUEST_METHOD": "OPTIONS"}),
        served("OPTIONS * in the environ", get(b"*", method=b"OPTIONS"),
               environ={"PATH_INFO": "/", "QUERY_STRING": "", "RAW_URI": "*"}),
        last("OPTIONS * in HTTP/1.0", get10(b"*", method=b"OPTIONS")),
        refused("options *: another method", get(b"*", method=b"options")),
        refused("GET *", get(b"*")),
        refused("POST *", get(b"*", method=b"POST")),
        refused("POST * with a length", get(b"*", b"Content-Length: 0", method=b"POST")),
        at_once("GET * in a head without an end", b"GET * HTTP/1.1\r\n"),
        refused("OPTIONS with two stars", get(b"**", method=b"OPTIONS"), section="RFC 9112 section 3.2"),
        refused("OPTIONS * with a query", get(b"*?a", method=b"OPTIONS"), section="RFC 9112 section 3.2"),
    ],
}  # fmt: skip
