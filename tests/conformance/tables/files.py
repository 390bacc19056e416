"""wsgi.file_wrapper: from the current offset, never beyond Content-Length, for anything that has a read()."""

from __future__ import annotations

from ..case import get, get10, head, last, served
from ..client import Framing

CONTENT = b"0123456789" * 1000

GROUPS = {
    "PEP 3333 Optional Platform-Specific File Handling": [
        served("whole file", get(b"/file"), body=CONTENT),
        served("from an offset", get(b"/file?offset=9995"), body=b"56789"),
        served("from an offset, a read() before", get(b"/file?read=3"), body=CONTENT[3:]),
        served("from an offset and a read()", get(b"/file?offset=10&read=5"), body=CONTENT[15:]),
        served("at its end", get(b"/file?offset=10000"), body=b""),
        served("beyond its end", get(b"/file?offset=20000"), body=b""),
        served("small block size", get(b"/file?block=7"), body=CONTENT),
        served("Content-Length of all", get(b"/file-length/10000"), body=CONTENT, framing=Framing.LENGTH,
               fields={"Content-Length": "10000"}),
        served("Content-Length below the size", get(b"/file-length/15"), body=CONTENT[:15],
               fields={"Content-Length": "15"}),
        served("Content-Length and an offset", get(b"/file-length/5?offset=7"), body=b"78901"),
        served("Content-Length 0", get(b"/file-length/0"), body=b""),
        last("Content-Length above the size: cut off", get(b"/file-length/10005"), body=CONTENT, complete=False,
             announced=False),
        last("Content-Length above what is left: cut off", get(b"/file-length/10000?offset=9990"), body=CONTENT[9990:],
             complete=False, announced=False),
        served("two files in a row", get(b"/file?offset=9999") + get(b"/file-length/3"), 200, 200, body=b"012"),
        last("in HTTP/1.0", get10(b"/file"), body=CONTENT),
        last("in HTTP/1.0 with its length", get10(b"/file-length/10000"), body=CONTENT, framing=Framing.LENGTH),
        last("with close", get(b"/file", b"Connection: close"), body=CONTENT),
        served("HEAD", head(b"/file"), body=b""),
        served("HEAD with its length", head(b"/file-length/10000"), body=b"", fields={"Content-Length": "10000"}),
        served("object without a descriptor", get(b"/file-without-descriptor"), body=b"from memory"),
        last("object without a descriptor, HTTP/1.0", get10(b"/file-without-descriptor"), body=b"from memory"),
        served("object with read() alone", get(b"/file-read-only?t=@TOKEN@"), body=b"only a read()",
               events=("called", "closed")),
        served("close() of a file", get(b"/file-closed?t=@TOKEN@"), events=("called", "closed")),
        served("close() of a file on HEAD", head(b"/file-closed?t=@TOKEN@"), events=("called", "closed")),
        served("iterated by a middleware", get(b"/file-iterated"), body=b"abc-def-gh"),
    ],
}  # fmt: skip
