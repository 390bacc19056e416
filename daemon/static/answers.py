"""What a client is told of a static file: status, fields, and which of its bytes (RFC 9110).

Pure but for what `directory` looks up. The bytes themselves are sent by whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..http.conditions import Verdict, range_applies, verdict
from ..http.ranges import Unsatisfiable, single_range
from ..http.response import Encoded, Encodings, encode
from ..unpatched import time
from .directory import Found, Representation
from .names import No

Field = tuple[str, str]

OK, PARTIAL, NOT_MODIFIED = "200 OK", "206 Partial Content", "304 Not Modified"
FAILED, UNSATISFIABLE = "412 Precondition Failed", "416 Range Not Satisfiable"
MOVED, NOT_FOUND, NOT_ALLOWED = "301 Moved Permanently", "404 Not Found", "405 Method Not Allowed"
REFUSED_BY = {
    No.ABSENT: NOT_FOUND, No.REFUSED: NOT_FOUND, No.FORBIDDEN: "403 Forbidden", No.BROKEN: "500 Internal Server Error",
    No.EXHAUSTED: "503 Service Unavailable",
}  # fmt: skip
METHODS = frozenset({"GET", "HEAD"})
_NOT_IN_304 = frozenset({"Content-Type", "Content-Encoding", "Accept-Ranges"})  # RFC 9110 section 15.4.5: metadata that
# the client has already


class Answer:
    """A whole answer: head, and a body that is `content`, or `count` bytes of a file from `offset` on."""

    __slots__ = ("content", "count", "encoded", "fd", "headers", "offset", "status", "whole")

    def __init__(
        self, status: str, headers: list[Field], encoded: Encoded, content: bytes | None, *, fd: int = -1,
        offset: int = 0, count: int = 0, whole: Representation | None = None,
    ) -> None:  # fmt: skip
        """`fd`: the file's descriptor, which whoever sends the answer closes; below 0: the content is here.

        `whole`: what it is all of, for whoever may give it again while that is fresh.
        """
        self.status = status
        self.headers = headers
        self.encoded = encoded
        self.content = content
        self.fd = fd
        self.offset = offset
        self.count = count
        self.whole = whole

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.count} bytes>"


class _Whole:
    """A representation's 200, made once."""

    __slots__ = ("encoded", "headers")

    def __init__(self, representation: Representation, encodings: Encodings) -> None:
        # Said here, as it is said of an empty file, and in the answer to a HEAD.
        size = ("Content-Length", str(representation.size))
        self.headers = [*representation.own, *representation.validators, size]
        self.encoded = encode(OK, self.headers, encodings)


def of_found(found: Found, method: str, fields: Mapping[str, Any], encodings: Encodings) -> Answer:
    """The answer to a GET or HEAD for a file that is there."""
    representation, content, fd = found
    size = representation.size
    decided = decide(method, fields, representation.etag, representation.modified, size)
    if decided is None:
        whole = representation.kept
        if type(whole) is not _Whole:
            whole = representation.kept = _Whole(representation, encodings)
        all_of = None if representation.content is None else representation
        return Answer(OK, whole.headers, whole.encoded, content, fd=fd, count=size, whole=all_of)
    status, start, stop = decided
    if status == PARTIAL:
        headers = [*representation.own, *representation.validators, content_range(start, stop, size)]
        part = None if content is None else content[start:stop]
        return Answer(
            status, headers, encode(status, headers, encodings), part, fd=fd, offset=start, count=stop - start
        )
    if status == NOT_MODIFIED:
        headers = [*(field for field in representation.own if field[0] not in _NOT_IN_304), *representation.validators]
        return Answer(status, headers, encode(status, headers, encodings), b"", fd=fd)
    told = of_server(status, encodings, [("Content-Range", f"bytes */{size}")] if status == UNSATISFIABLE else ())
    told.fd, told.count = fd, len(told.content or b"")
    return told


def of_server(status: str, encodings: Encodings, more: Sequence[Field] = ()) -> Answer:
    """A status that is told in a line of text."""
    content = f"{status}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), *more]
    return Answer(status, headers, encode(status, headers, encodings), content, count=len(content))


def decide(
    method: str, fields: Mapping[str, Any], etag: str, modified: int | None, size: int
) -> tuple[str, int, int] | None:
    """What conditions and ranges make of a 200: the status, the first byte, the one behind the last; None: it stays."""
    decided = verdict(fields, etag, modified)
    if decided is not Verdict.GO_ON:
        return (NOT_MODIFIED if decided is Verdict.NOT_MODIFIED else FAILED), 0, 0
    wanted = fields.get("HTTP_RANGE")
    if wanted is None or method != "GET" or not range_applies(fields, etag, modified, time.time()):
        return None
    try:
        part = single_range(wanted, size)
    except Unsatisfiable:
        return UNSATISFIABLE, 0, 0
    return None if part is None else (PARTIAL, *part)


def content_range(start: int, stop: int, size: int) -> Field:
    """RFC 9110 section 14.4."""
    return "Content-Range", f"bytes {start}-{stop - 1}/{size}"
