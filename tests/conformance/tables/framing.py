"""Which bytes are the body: Content-Length and Transfer-Encoding (RFC 9112, section 6)."""

from __future__ import annotations

from ..case import END_CHUNK, chunk, either, get, get10, last, post, refused, served

TOPIC = "framing"
BODY = b"12345"
CHUNKS = chunk(BODY) + END_CHUNK


def length(*values: bytes, body: bytes = BODY) -> bytes:
    return get(b"/", *(b"Content-Length: " + value for value in values), method=b"POST", body=body)


def coding(*values: bytes) -> bytes:
    return get(b"/", *(b"Transfer-Encoding: " + value for value in values), method=b"POST", body=CHUNKS)


CASES = [
    # Content-Length
    served("body", post(BODY), received=BODY, environ={"CONTENT_LENGTH": "5", "HTTP_CONTENT_LENGTH": None}),
    served("body of bytes", post(bytes(range(256))), received=bytes(range(256))),
    served("body that looks like a request", post(get(b"/forged")), received=get(b"/forged")),
    served("body that looks like chunks", post(CHUNKS), received=CHUNKS),
    served("body of 100 kB", post(b"z" * 100_000), received=b"z" * 100_000),
    served("body of 600 kB", post(b"z" * 600_000), received=b"z" * 600_000),
    served("body on GET", get(b"/", b"Content-Length: 5", body=BODY), received=BODY),
    served("body on DELETE", get(b"/", b"Content-Length: 5", method=b"DELETE", body=BODY), received=BODY),
    served("body on HEAD", get(b"/", b"Content-Length: 5", method=b"HEAD", body=BODY), body=b""),
    served("body on OPTIONS *", get(b"*", b"Content-Length: 5", method=b"OPTIONS", body=BODY)),
    served("zero", length(b"0", body=b""), received=b"", environ={"CONTENT_LENGTH": "0"}),
    served("zeros in front", length(b"0005"), received=BODY),
    served("white space around", length(b" \t5\t "), received=BODY),
    served("none on GET: no body", get(), received=b""),
    served("none on POST: no body", get(method=b"POST"), received=b""),
    served("name in capitals", get(b"/", b"CONTENT-LENGTH: 5", method=b"PUT", body=BODY), received=BODY),
    last("body in HTTP/1.0", get10(b"/", b"Content-Length: 5", method=b"POST", body=BODY), received=BODY),
    refused("plus sign", length(b"+5")),
    refused("minus sign", length(b"-1")),
    refused("minus zero", length(b"-0")),
    refused("underscore", length(b"0_5")),
    refused("hexadecimal", length(b"0x5")),
    refused("decimal point", length(b"5.0")),
    refused("exponent", length(b"5e0")),
    refused("empty", length(b"")),
    refused("white space alone", length(b" \t ")),
    refused("space inside", length(b"1 2")),
    refused("word", length(b"five")),
    refused("trailing junk", length(b"5x")),
    refused("trailing semicolon", length(b"5;")),
    refused("quoted", length(b'"5"')),
    refused("NUL behind", length(b"5\0")),
    refused("vertical tab in front", length(b"\x0b5")),
    refused("no-break space in front", length(b"\xa05")),
    refused("full-width digits", length(b"\xef\xbc\x95")),
    refused("superscript digit", length(b"\xb2")),
    refused("too large for 64 bits", length(b"99999999999999999999"), either(400, 413)),
    refused("wraps 64 bits to 5", length(b"18446744073709551621"), either(400, 413)),
    refused("wraps 32 bits to 5", length(b"4294967301"), 413),
    refused("a hundred digits", length(b"9" * 100), either(400, 413)),
    refused("5,000 digits", length(b"9" * 5000), either(400, 413)),
    refused("twice, different", length(b"5", b"6")),
    refused("twice, equal", length(b"5", b"5")),
    refused("twice in different case", get(b"/", b"Content-Length: 5", b"content-length: 5", body=BODY)),
    refused("listed, different", length(b"5, 6")),
    refused("listed, equal", length(b"5, 5")),
    refused("listed with an empty member", length(b"5,")),
    refused("bad in HTTP/1.0", get10(b"/", b"Content-Length: x", method=b"POST", body=BODY)),
    refused("bad on GET", get(b"/", b"Content-Length: x")),
    # Transfer-Encoding
    served("chunked", coding(b"chunked"), received=BODY),
    served("Chunked", coding(b"Chunked"), received=BODY),
    served("CHUNKED", coding(b"CHUNKED"), received=BODY),
    served("white space around chunked", coding(b"\t chunked \t"), received=BODY),
    served("chunked on GET", get(b"/", b"Transfer-Encoding: chunked", body=CHUNKS), received=BODY),
    served("name in capitals, chunked", get(b"/", b"TRANSFER-ENCODING: chunked", body=CHUNKS), received=BODY),
    refused("gzip", coding(b"gzip"), 501),
    refused("gzip, chunked", coding(b"gzip, chunked"), 501),
    refused("gzip and chunked in two fields", coding(b"gzip", b"chunked"), 501),
    refused("unknown coding", coding(b"xchunked"), 501),
    refused("chunked with a letter more", coding(b"chunkedd"), 501),
    refused("identity", coding(b"identity"), either(501, 400)),
    refused("identity, chunked", coding(b"identity, chunked"), either(501, 400)),
    refused("chunked, gzip", coding(b"chunked, gzip"), either(400, 501)),
    refused("chunked, identity", coding(b"chunked, identity"), either(400, 501)),
    refused("chunked and gzip in two fields", coding(b"chunked", b"gzip"), either(400, 501)),
    refused("chunked, chunked", coding(b"chunked, chunked")),
    refused("chunked in two fields", coding(b"chunked", b"chunked")),
    refused("chunked in two fields of different case",
            get(b"/", b"Transfer-Encoding: chunked", b"transfer-encoding: chunked", body=CHUNKS)),
    refused("empty coding", coding(b"")),
    refused("comma alone", coding(b",")),
    refused("empty member in front", coding(b", chunked")),
    refused("empty member behind", coding(b"chunked,")),
    refused("parameter", coding(b"chunked;q=1"), either(400, 501)),
    refused("quoted coding", coding(b'"chunked"'), either(400, 501)),
    refused("two words", coding(b"chunked x"), either(400, 501)),
    refused("colon in front", coding(b": chunked"), either(400, 501)),
    refused("vertical tab before chunked", coding(b"\x0bchunked")),
    refused("NUL before chunked", coding(b"\0chunked")),
    refused("no-break space behind chunked", coding(b"chunked\xa0"), either(400, 501)),
    refused("dotless i and the like", coding(b"chun\xc5\xbfed"), either(400, 501)),
    refused("chunked in HTTP/1.0", get10(b"/", b"Transfer-Encoding: chunked", method=b"POST", body=CHUNKS)),
    refused("chunked in HTTP/1.0 with keep-alive",
            get10(b"/", b"Transfer-Encoding: chunked", b"Connection: keep-alive", method=b"POST", body=CHUNKS)),
    # both
    refused("Content-Length and chunked",
            get(b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKS)),
    refused("chunked and Content-Length",
            get(b"/", b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS)),
    refused("chunked and Content-Length 0",
            get(b"/", b"Transfer-Encoding: chunked", b"Content-Length: 0", body=CHUNKS)),
    refused("chunked and Content-Length that fits",
            get(b"/", b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(CHUNKS), body=CHUNKS)),
    refused("Content-Length and gzip", get(b"/", b"Content-Length: 5", b"Transfer-Encoding: gzip", body=BODY),
            either(400, 501)),
    refused("both in HTTP/1.0",
            get10(b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST", body=CHUNKS)),
]  # fmt: skip
