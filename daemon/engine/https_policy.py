"""Plain HTTP is redirected, and browsers are told to keep to HTTPS, where a listener asks for it.

As WSGI around the application, in workers that have such a listener and no others. What a connection's listener wants
is in two variables of its environ, which the application does not see. The redirect is 308 (RFC 9110 section 15.4.9):
method and body stay what they are. Challenges of ACME (RFC 8555 section 8.3) are not redirected: what answers them may
be here before there is a certificate. Nor is what a trusted proxy has received by HTTPS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..http.response import with_field
from ..settings import Settings

REDIRECT = "miniwsgi.redirect"  # the port of https:// URLs
HSTS = "miniwsgi.hsts"  # the value of the field
_CHALLENGES = "/.well-known/acme-challenge/"
_FIELD = "Strict-Transport-Security"  # RFC 6797 section 6.1
_HTTPS_PORT = 443
_PORT_OF_HOST = re.compile(r":[0-9]*\Z")
_SCHEME_AND_HOST = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")  # of an absolute target (RFC 9112 section 3.2.2)

Application = Callable[..., Any]


def https_policy(application: Application, settings: Settings) -> Application:
    """The application as listeners want it."""
    wanted = any(one.redirect or (one.tls is not None and one.tls.hsts) for one in settings.listeners)
    return HTTPSPolicy(application) if wanted else application


class HTTPSPolicy:
    """A WSGI application."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __repr__(self) -> str:
        return f"<HTTPSPolicy {self._application!r}>"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        redirected = is_redirected(environ)
        port = environ.pop(REDIRECT, 0)
        if redirected:
            body = b"This is served by https:// alone.\n"
            start_response("308 Permanent Redirect", [
                ("Location", location(environ, port)), ("Content-Type", "text/plain"),
                ("Content-Length", str(len(body))),
            ])  # fmt: skip
            return [body]
        value = environ.pop(HSTS, "")
        if not value or environ["wsgi.url_scheme"] == "http":  # of what a trusted proxy was asked for
            return self._application(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if type(headers) is list and not any(name.lower() == _FIELD.lower() for name, _value in headers):
                headers = [*headers, (_FIELD, value)]
            return start_response(status, headers, *exc_info)

        return self._application(environ, start)


def is_redirected(environ: dict[str, Any]) -> bool:
    """Whether a request is not to be served as it came."""
    return (
        REDIRECT in environ
        and environ["wsgi.url_scheme"] == "http"
        and not environ["PATH_INFO"].startswith(_CHALLENGES)
    )


def with_hsts(head: bytes, value: str) -> bytes:
    """A response's head that has the field, too."""
    return with_field(head, _FIELD, value)


def location(environ: dict[str, Any], port: int) -> str:
    """The URL that was asked for, with https://."""
    host = _PORT_OF_HOST.sub("", environ.get("HTTP_HOST", "")) or environ["SERVER_NAME"]
    target = _SCHEME_AND_HOST.sub("", environ["REQUEST_URI"])
    if not target.startswith("/"):
        target = f"/{target}" if target.startswith("?") else "/"
    return f"https://{host}{'' if port == _HTTPS_PORT else f':{port}'}{target}"
