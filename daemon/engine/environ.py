"""The environ of a request (PEP 3333, "environ Variables"; RFC 3875), a fresh dict for each.

Its parts by how often they change: what the worker knows (`worker_environ`), what the connection knows
(`connection_environ`), the fields of the request, the request line. The parser adds the fields to what the
connection knows; that is kept while its client repeats itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..http.connection import ConnectionSteps
from . import connected, request_ids
from .file_wrapper import FileWrapper
from .input import EMPTY
from .mount import Mount

if TYPE_CHECKING:
    from .proxy import Proxy

Environ = dict[str, Any]

# What changes with each request has its place in the template already: a dict that grows is made anew.
PLACES = {
    "REQUEST_METHOD": "",
    "PATH_INFO": "",
    "QUERY_STRING": "",
    "REQUEST_URI": "",
    "RAW_URI": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    request_ids.VARIABLE: "",
}


def text_of(environ: Environ, name: str) -> str:
    """A variable of a request that is, or was, the application's; "" if that has made something else of it, whose own
    methods may do anything.
    """
    value = environ.get(name)
    return value if type(value) is str else ""


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
        "wsgi.input": EMPTY,
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "miniwsgi.pool": pool,
        "miniwsgi.slot": slot,
        "miniwsgi.generation": generation,
        connected.VARIABLE: connected.Connected(),
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


def request_environ(connection: ConnectionSteps, mount: Mount, proxy: Proxy | None) -> Environ:
    """The environ of the complete request of `connection`, whose `base` came of `connection_environ`.

    `proxy` is set when the peer is a trusted one, and has checked the fields then. Two variables are the caller's to
    set: the request's id, and wsgi.early_hints where it is there.
    """
    line: Any = connection.line  # it and the head are there, as the request is complete
    head: Any = connection.head
    template = head.template
    if template is None:
        template = head.template = head.fields
        complete_template(template, head.http11, proxy)
    environ: Environ = template.copy()
    environ["REQUEST_METHOD"] = line.method
    environ["PATH_INFO"] = line.path
    environ["QUERY_STRING"] = line.query
    environ["REQUEST_URI"] = environ["RAW_URI"] = line.target
    body = connection.body
    if body is not None:
        environ["wsgi.input"] = body.file()
        if head.chunked:  # RFC 9112 section 7.1.3: once decoded the body has a length and no coding
            environ["CONTENT_LENGTH"] = str(body.size)
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ.pop("HTTP_TRAILER", None)
    if line.authority is not None:
        environ["HTTP_HOST"] = line.authority
        if proxy is not None:
            proxy.place(environ)
    if mount.splits(proxy):
        mount.split(environ, line.path, proxy)
    return environ


def complete_template(template: Environ, http11: bool, proxy: Proxy | None) -> None:
    """Make of what the connection knows and a request's fields what its environ begins with."""
    template.update(PLACES)
    if http11:
        template["wsgi.early_hints"] = None
    else:
        template["SERVER_PROTOCOL"] = "HTTP/1.0"
    if proxy is not None:
        proxy.apply(template)


def server_software(version: str) -> str:
    """SERVER_SOFTWARE: the product and the interpreter."""
    return f"miniwsgi/{version} Python/{sys.version_info.major}.{sys.version_info.minor}"
