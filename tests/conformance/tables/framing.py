"""Which bytes are the body: Transfer-Encoding and Content-Length (RFC 9112 section 6)."""

from __future__ import annotations

from ..case import END_CHUNK, chunk, get, get10, last, one_of, post, refused, served

BODY = b"12345"
CHUNKS = chunk(BODY) + END_CHUNK
TOO_LARGE = "RFC 9110 section 15.5.14"
BYTES = "RFC 9110 section 5.5"
CHUNKED = b"Transfer-Encoding: chunked"
KEPT = b"Connection: keep-alive"

UNKNOWN_CODINGS = {
    "gzip": b"gzip",
    "gzip, chunked": b"gzip, chunked",
    "gzip,chunked without a space": b"gzip,chunked",
    "unknown coding": b"xchunked",
    "chunked with a letter more": b"chunkedd",
}
NO_CODINGS = {
    "empty coding": b"",
    "comma alone": b",",
    "empty member in front": b", chunked",
    "empty member behind": b"chunked,",
    "empty member between": b"gzip, , chunked",
    "parameter": b"chunked;q=1",
    "quoted coding": b'"chunked"',
    "two words": b"chunked x",
    "colon in front": b": chunked",
    "no-break space behind chunked": b"chunked\xa0",
    "next line (0x85) before chunked": b"\x85chunked",
    "dotless i and the like": b"chun\xc5\xbfed",
}
CONTROLS_IN_CODINGS = {
    "vertical tab before chunked": b"\x0bchunked",
    "form feed behind chunked": b"chunked\x0c",
    "NUL before chunked": b"\0chunked",
}
NO_LENGTHS = {
    "plus sign": b"+5",
    "minus sign": b"-1",
    "minus zero": b"-0",
    "underscore": b"0_5",
    "hexadecimal": b"0x5",
    "decimal point": b"5.0",
    "exponent": b"5e0",
    "empty": b"",
    "white space alone": b" \t ",
    "space inside": b"1 2",
    "word": b"five",
    "trailing junk": b"5x",
    "trailing semicolon": b"5;",
    "quoted": b'"5"',
    "no-break space in front": b"\xa05",
    "no-break space behind": b"5\xa0",
    "next line (0x85) in front": b"\x855",
    "full-width digits": b"\xef\xbc\x95",
    "superscript digit": b"\xb2",
    "listed, different": b"5, 6",
    "listed, equal": b"5, 5",
    "listed, equal, without a space": b"5,5",
    "listed with an empty member": b"5,",
    "listed with an empty member in front": b",5",
}
LARGE_LENGTHS = {
    "too large for 64 bits": b"99999999999999999999",
    "wraps 64 bits to 5": b"18446744073709551621",
    "wraps 32 bits to 5": b"4294967301",
    "a hundred digits": b"9" * 100,
    "5,000 digits": b"9" * 5000,
    "too large behind zeros": b"0" * 30 + b"9" * 19,
    "too large by a byte": b"104857601",
}


def length(*values: bytes, body: bytes = BODY) -> bytes:
    return get(b"/", *(b"Content-Length: " + value for value in values), method=b"POST", body=body)


def coding(*values: bytes) -> bytes:
    return get(b"/", *(b"Transfer-Encoding: " + value for value in values), method=b"POST", body=CHUNKS)


GROUPS = {
    "RFC 9112 section 6.1 Transfer-Encoding": [
        served("chunked", coding(b"chunked"), received=BODY),
        served("Chunked", coding(b"Chunked"), received=BODY),
        served("CHUNKED", coding(b"CHUNKED"), received=BODY),
        served("white space around chunked", coding(b"\t chunked \t"), received=BODY),
        served("chunked on GET", get(b"/", CHUNKED, body=CHUNKS), received=BODY),
        served("name in capitals, chunked", get(b"/", b"TRANSFER-ENCODING: chunked", body=CHUNKS), received=BODY),
        served("name in capitals, chunked, no space", get(b"/", b"TRANSFER-ENCODING:chunked", body=CHUNKS),
               received=BODY),
        *(refused(name, coding(value), 501) for name, value in UNKNOWN_CODINGS.items()),
        refused("gzip and chunked in two fields", coding(b"gzip", b"chunked"), 501),
        refused("identity", coding(b"identity"), 501, otherwise=(400,)),
        refused("identity, chunked", coding(b"identity, chunked"), 501, otherwise=(400,)),
        *(refused(name, coding(value), otherwise=(501,)) for name, value in NO_CODINGS.items()),
        *(refused(name, coding(value), section=BYTES) for name, value in CONTROLS_IN_CODINGS.items()),
        refused("chunked and nothing in two fields", coding(b"chunked", b"")),
        refused("chunked in HTTP/1.0", get10(b"/", CHUNKED, method=b"POST", body=CHUNKS)),
        refused("chunked in HTTP/1.0 with keep-alive", get10(b"/", CHUNKED, KEPT, method=b"POST", body=CHUNKS)),
        refused("chunked in HTTP/1.0, on GET", get10(b"/", CHUNKED, body=CHUNKS)),
        refused("chunked in HTTP/1.0 with keep-alive, on GET", get10(b"/", CHUNKED, KEPT, body=CHUNKS)),
    ],
    "RFC 9112 section 6.2 Content-Length": [
        served("body", post(BODY), received=BODY, environ={"CONTENT_LENGTH": "5", "HTTP_CONTENT_LENGTH": None}),
        served("body of bytes", post(bytes(range(256))), received=bytes(range(256))),
        served("body that looks like a request", post(get(b"/forged")), received=get(b"/forged")),
        served("body that looks like chunks", post(CHUNKS), received=CHUNKS),
        served("body of 100 kB", post(b"z" * 100_000), received=b"z" * 100_000),
        served("body of 600 kB", post(b"z" * 600_000), received=b"z" * 600_000),
        served("body on GET", get(b"/", b"Content-Length: 5", body=BODY), received=BODY,
               environ={"REQUEST_METHOD": "GET"}),
        served("body on DELETE", get(b"/", b"Content-Length: 5", method=b"DELETE", body=BODY), received=BODY),
        served("body on HEAD", get(b"/", b"Content-Length: 5", method=b"HEAD", body=BODY), body=b"", received=BODY),
        served("body on OPTIONS *", get(b"*", b"Content-Length: 5", method=b"OPTIONS", body=BODY), received=BODY),
        served("zero", length(b"0", body=b""), received=b"", environ={"CONTENT_LENGTH": "0"}),
        served("zeros", length(b"0" * 50, body=b""), received=b""),
        served("zeros in front", length(b"0005"), received=BODY),
        served("5,000 zeros in front", length(b"0" * 5000 + b"5"), received=BODY),
        served("white space around", length(b" \t5\t "), received=BODY),
        served("none on GET: no body", get(), received=b""),
        served("none on POST: no body", get(method=b"POST"), received=b"",
               environ={"CONTENT_LENGTH": one_of("", None)}),
        served("name in capitals", get(b"/", b"CONTENT-LENGTH: 5", method=b"PUT", body=BODY), received=BODY),
        served("name in capitals, on GET", get(b"/", b"CONTENT-LENGTH: 5", body=BODY), received=BODY),
        served("no space behind the name", get(b"/", b"Content-Length:5", body=BODY), received=BODY),
        last("body in HTTP/1.0", get10(b"/", b"Content-Length: 5", method=b"POST", body=BODY), received=BODY),
        last("body in HTTP/1.0, on GET", get10(b"/", b"Content-Length: 5", body=BODY), received=BODY),
    ],
    "RFC 9112 section 6.3 Message Body Length": [
        *(refused(name, length(value)) for name, value in NO_LENGTHS.items()),
        refused("NUL behind", length(b"5\0"), section=BYTES),
        refused("vertical tab in front", length(b"\x0b5"), section=BYTES),
        *(refused(name, length(value), 413, otherwise=(400,), section=TOO_LARGE)
          for name, value in LARGE_LENGTHS.items()),
        refused("twice, different", length(b"5", b"6")),
        refused("twice, equal", length(b"5", b"5")),
        refused("twice in different case", get(b"/", b"Content-Length: 5", b"content-length: 5", body=BODY)),
        refused("bad in HTTP/1.0", get10(b"/", b"Content-Length: x", method=b"POST", body=BODY)),
        refused("bad in HTTP/1.0, on GET", get10(b"/", b"Content-Length: x", body=BODY)),
        refused("bad on GET", get(b"/", b"Content-Length: x")),
        # a coding that is not the last, or not once
        refused("chunked, gzip", coding(b"chunked, gzip"), otherwise=(501,)),
        refused("chunked, identity", coding(b"chunked, identity"), otherwise=(501,)),
        refused("chunked and gzip in two fields", coding(b"chunked", b"gzip"), otherwise=(501,)),
        refused("chunked, chunked", coding(b"chunked, chunked")),
        refused("chunked, chunked without a space", coding(b"chunked,chunked")),
        refused("chunked in two fields", coding(b"chunked", b"chunked")),
        refused("chunked in two fields of different case",
                get(b"/", CHUNKED, b"transfer-encoding: chunked", body=CHUNKS)),
        # both
        *(refused(f"Content-Length and chunked: {what}", get(b"/", b"Content-Length: " + value, CHUNKED, body=CHUNKS))
          for what, value in {"shorter": b"5", "zero": b"0", "fits": b"%d" % len(CHUNKS), "bad": b"x",
                              "empty": b""}.items()),
        refused("chunked and Content-Length", get(b"/", CHUNKED, b"Content-Length: 5", body=CHUNKS)),
        refused("chunked and Content-Length 0", get(b"/", CHUNKED, b"Content-Length: 0", body=CHUNKS)),
        refused("chunked and Content-Length that fits",
                get(b"/", CHUNKED, b"Content-Length: %d" % len(CHUNKS), body=CHUNKS)),
        refused("Content-Length and gzip", get(b"/", b"Content-Length: 5", b"Transfer-Encoding: gzip", body=BODY),
                otherwise=(501,)),
        refused("both in HTTP/1.0", get10(b"/", b"Content-Length: 5", CHUNKED, method=b"POST", body=CHUNKS)),
        refused("both in HTTP/1.0, on GET", get10(b"/", b"Content-Length: 5", CHUNKED, body=CHUNKS)),
    ],
}  # fmt: skip
