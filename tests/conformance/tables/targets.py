"""The request target and what becomes of it: PATH_INFO, QUERY_STRING, the raw one (RFC 9112, section 3.2)."""

from __future__ import annotations

from typing import Any

from ..case import Case, either, get, get10, last, one_of, post, refused, request, served

TOPIC = "targets"


def path(target: bytes, expected: str, name: str = "", query: str = "") -> Case:
    """The path as the application sees it, the query untouched."""
    environ: dict[str, Any] = {
        "PATH_INFO": expected,
        "QUERY_STRING": query or one_of("", None),
        "SCRIPT_NAME": one_of("", None),
    }
    return served(name or f"path {target.decode('latin-1')}", get(target), environ=environ)


def raw(target: bytes) -> Case:
    """The original target is kept in RAW_URI or REQUEST_URI."""
    expected = target.decode("latin-1")
    return served(f"raw target {expected}", get(target), environ={"RAW_URI or REQUEST_URI": expected})


def absolute(name: str, target: bytes, **environ: Any) -> Case:
    return served(f"absolute-form {name}", get(target), environ=environ)


CASES = [
    path(b"/", "/"),
    path(b"/a/b.c", "/a/b.c"),
    path(b"/a/", "/a/"),
    path(b"/a%20b", "/a b"),
    path(b"/a+b", "/a+b"),
    path(b"/a%2Fb", "/a/b"),
    path(b"/a%2fb", "/a/b"),
    path(b"/a%252Fb", "/a%2Fb", name="percent-decoded once only"),
    path(b"/%41%42", "/AB"),
    path(b"/a%3Fb", "/a?b"),
    path(b"/a%23b", "/a#b"),
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
    path(b"/?%zz", "/", query="%zz"),
    path(b"/?a=http://b/", "/", query="a=http://b/"),
    path(b"/%3f?%3f", "/?", query="%3f"),
    raw(b"/a%20b"),
    raw(b"/a%2Fb?c%2Fd"),
    raw(b"//a/./b/..//c"),
    raw(b"/?"),
    # a bad escape stays as it is or is refused: never half decoded
    *(
        served(f"bad escape {bad}", get(b"/a" + bad.encode() + b"x"), environ={"PATH_INFO": f"/a{bad}x"},
               otherwise=(400,))
        for bad in ("%", "%z", "%zz", "%4", "%4z", "%+1", "%u0041")
    ),
    # raw bytes beyond ASCII are no URI; taken as they are, or refused
    served("obs-text in the path", get(b"/a\xe9"), environ={"PATH_INFO": "/a\xe9"}, otherwise=(400,)),
    served("obs-text in the query", get(b"/?\xe9"), environ={"QUERY_STRING": "\xe9"}, otherwise=(400,)),
    # absolute-form
    absolute("with a path", b"http://b.example/c?d", PATH_INFO="/c", QUERY_STRING="d", HTTP_HOST="b.example"),
    absolute("with a port", b"http://b.example:8080/c", PATH_INFO="/c", HTTP_HOST="b.example:8080"),
    absolute("without a path", b"http://b.example", PATH_INFO="/", HTTP_HOST="b.example"),
    absolute("without a path, with a query", b"http://b.example?d",
             PATH_INFO="/", QUERY_STRING="d", HTTP_HOST="b.example"),
    absolute("in capitals", b"HTTP://B.example/c", PATH_INFO="/c", HTTP_HOST="B.example"),
    absolute("to an IPv6 address", b"http://[::1]:80/c", PATH_INFO="/c", HTTP_HOST="[::1]:80"),
    absolute("with an escape", b"http://b.example/c%20d", PATH_INFO="/c d"),
    absolute("with two slashes in its path", b"http://b.example//c", PATH_INFO="//c"),
    last("absolute-form in HTTP/1.0", get10(b"http://b.example/c"),
         environ={"PATH_INFO": "/c", "HTTP_HOST": "b.example"}),
    absolute("of https", b"https://b.example/c", PATH_INFO="/c", HTTP_HOST="b.example"),
    absolute("with an empty port", b"http://b.example:/c", PATH_INFO="/c"),
    served("absolute-form with POST", post(b"abc", target=b"http://b.example/c"), received=b"abc",
           environ={"PATH_INFO": "/c", "HTTP_HOST": "b.example"}),
    served("absolute-form, then origin-form", get(b"http://b.example/1") + get(b"/2"), 200, 200,
           paths=("/1", "/2"), environ={"HTTP_HOST": "a"}),
    refused("absolute-form and an invalid Host", request(b"GET http://b.example/ HTTP/1.1", b"Host: a b")),
    refused("absolute-form and two Hosts", request(b"GET http://b.example/ HTTP/1.1", b"Host: a", b"Host: b.example")),
    refused("absolute-form with user information", get(b"http://user:word@b.example/")),
    refused("absolute-form of another scheme", get(b"ftp://b.example/c")),
    refused("absolute-form with an unclosed bracket", get(b"http://[::1/c")),
    refused("absolute-form without an authority", get(b"http:///a")),
    refused("absolute-form with nothing", get(b"http://")),
    refused("absolute-form with a bad port", get(b"http://b:c/")),
    refused("absolute-form with one slash", get(b"http:/a")),
    refused("absolute-form with a fragment", get(b"http://b.example/c#d")),
    # the other forms
    served("OPTIONS *", get(b"*", method=b"OPTIONS"),
           environ={"PATH_INFO": one_of("*", "", "/"), "REQUEST_METHOD": "OPTIONS"}),
    served("OPTIONS * in the environ", get(b"*", method=b"OPTIONS"), environ={"PATH_INFO": "/", "RAW_URI": "*"}),
    last("OPTIONS * in HTTP/1.0", get10(b"*", method=b"OPTIONS")),
    refused("options *: another method", get(b"*", method=b"options")),
    refused("GET *", get(b"*")),
    refused("POST *", get(b"*", b"Content-Length: 0", method=b"POST")),
    refused("OPTIONS with two stars", get(b"**", method=b"OPTIONS")),
    refused("OPTIONS * with a query", get(b"*?a", method=b"OPTIONS")),
    served("OPTIONS with a path", get(b"/a", method=b"OPTIONS"), environ={"PATH_INFO": "/a"}),
    refused("CONNECT", request(b"CONNECT a:443 HTTP/1.1", b"Host: a:443"), either(405, 501)),
    refused("CONNECT in HTTP/1.0", request(b"CONNECT a:443 HTTP/1.0"), either(405, 501)),
    refused("CONNECT with a path", get(b"/a", method=b"CONNECT"), either(400, 405, 501)),
    refused("CONNECT *", get(b"*", method=b"CONNECT"), either(400, 405, 501)),
    refused("authority-form with GET", get(b"a:443")),
    refused("no leading slash", get(b"a/b")),
    refused("query alone", get(b"?a")),
    refused("dot", get(b".")),
    refused("backslash for a slash", get(b"\\a")),
    refused("mailto:", get(b"mailto:a@b")),
    refused("fragment", get(b"/a#b")),
    refused("fragment in the query", get(b"/a?b#c")),
    refused("empty fragment", get(b"/#")),
    refused("NUL in the target", get(b"/a\0b")),
    refused("control in the target", get(b"/a\x01b")),
    refused("DEL in the target", get(b"/a\x7fb")),
    refused("control in the query", get(b"/a?\x1f")),
]  # fmt: skip
