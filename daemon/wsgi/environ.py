"""The environ of a request (PEP 3333, "environ Variables"; RFC 3875), a fresh dict for each.

Its parts by how often they change: what the worker knows (`worker_environ`), what the connection knows
(`connection_environ`), the fields of the request, the request line. The first three are kept together while a client
repeats its fields.
"""

from __future__ import annotations

import sys
from typing import Any

from ..http.connection import Connection
from .file_wrapper import FileWrapper
from .input import EMPTY
from .proxy import Proxy

Environ = dict[str, Any]


def worker_environ(
    *,
    pool: str,
    slot: int,
    generation: int,
    multithread: bool,
    multiprocess: bool,
    errors: object,
    server: str,
) -> Environ:
    """What is the same in every request of a worker. `server` is SERVER_SOFTWARE; `errors` is wsgi.errors."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": server,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "miniwsgi.pool": pool,
        "miniwsgi.slot": slot,
        "miniwsgi.generation": generation,
    }


def connection_environ(
    worker: Environ, server_name: str, server_port: str, remote_address: str, remote_port: str
) -> Environ:
    """What is the same in every request of a connection; "" for the addresses of a Unix socket."""
    environ = worker.copy()
    environ["SERVER_NAME"] = server_name
    environ["SERVER_PORT"] = server_port
    environ["REMOTE_ADDR"] = remote_address
    environ["REMOTE_PORT"] = remote_port
    return environ


def request_environ(connection: Connection, base: Environ, script_name: str, proxy: Proxy | None) -> Environ:
    """The environ of the complete request of `connection`. `proxy` is set when the peer is a trusted one."""
    line, head = connection.line, connection.head
    assert line is not None
    assert head is not None
    template = head.template
    if template is not None:
        environ = template.copy()
    else:
        environ = base.copy()
        environ.update(head.fields)
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if head.http11 else "HTTP/1.0"
        if proxy is not None:
            proxy.apply(environ)
        if head.seen:  # a client that repeats itself: from now on by copying
            head.template = environ.copy()
        head.seen = True
    environ["REQUEST_METHOD"] = line.method
    environ["PATH_INFO"] = path = line.path
    environ["QUERY_STRING"] = line.query
    environ["REQUEST_URI"] = environ["RAW_URI"] = line.target
    body = connection.body
    if body is None:
        environ["wsgi.input"] = EMPTY
    else:
        environ["wsgi.input"] = body.file()
        if head.chunked:  # RFC 9112 section 7.1.3: once decoded the body has a length and no coding
            environ["CONTENT_LENGTH"] = str(body.size)
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ.pop("HTTP_TRAILER", None)
    if line.authority is not None:
        environ["HTTP_HOST"] = line.authority
    if script_name and path.startswith(script_name) and path[len(script_name) : len(script_name) + 1] in {"", "/"}:
        environ["SCRIPT_NAME"] = script_name
        environ["PATH_INFO"] = path[len(script_name) :]
    return environ


def server_software(version: str) -> str:
    """SERVER_SOFTWARE: the product and the interpreter."""
    return f"miniwsgi/{version} Python/{sys.version_info.major}.{sys.version_info.minor}"
