"""Routes that hand a file, or what looks like one, to `wsgi.file_wrapper`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from typing import Any

from .routes import TEXT, Environ, argument, record, route

FILE_CONTENT = b"0123456789" * 1000


def open_file(environ: Environ, start_response: Callable[..., Any], *fields: tuple[str, str]) -> Any:
    """`offset=N` seeks and `read=N` reads before the file is handed over; `block=N` is the block size.

    After a read() the descriptor's own offset is beyond the file object's, which is the one that counts.
    """
    query = dict(pair.partition("=")[::2] for pair in environ["QUERY_STRING"].split("&"))
    file = tempfile.TemporaryFile()
    file.write(FILE_CONTENT)
    file.seek(int(query.get("offset", 0)))
    file.read(int(query.get("read", 0)))
    start_response("200 OK", [TEXT, *fields])
    return environ["wsgi.file_wrapper"](file, int(query.get("block", 8192)))


@route("/file")
def file(environ: Environ, start_response: Callable[..., Any]) -> Any:
    return open_file(environ, start_response)


@route("/file-length/")
def file_length(environ: Environ, start_response: Callable[..., Any]) -> Any:
    return open_file(environ, start_response, ("Content-Length", argument(environ)))


@route("/file-without-descriptor")
def file_without_descriptor(environ: Environ, start_response: Callable[..., Any]) -> Any:
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"from memory"))


@route("/file-read-only")
def file_read_only(environ: Environ, start_response: Callable[..., Any]) -> Any:
    """PEP 3333: the object need have nothing but read(); close() is called when it has one."""

    class Readable:
        parts = [b"only ", b"a read()", b""]

        def read(self, size: int = -1) -> bytes:
            return self.parts.pop(0)

        def close(self) -> None:
            record(environ, "closed")

    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](Readable())


@route("/file-closed")
def file_closed(environ: Environ, start_response: Callable[..., Any]) -> Any:
    """A real descriptor whose close() is recorded."""

    class Recording(io.FileIO):
        def close(self) -> None:
            if not self.closed:
                record(environ, "closed")
            super().close()

    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](Recording(__file__))


@route("/file-iterated")
def file_iterated(environ: Environ, start_response: Callable[..., Any]) -> Any:
    """The wrapper is an iterable by itself: a middleware may take it apart."""
    wrapper = environ["wsgi.file_wrapper"](io.BytesIO(b"abcdefgh"), 3)
    start_response("200 OK", [TEXT])
    return [b"-".join(wrapper)]
