"""Chunked bodies: sizes, extensions, line ends, trailers (RFC 9112 section 7.1)."""

from __future__ import annotations

from ..case import END_CHUNK, at_once, chunk, chunked, either, refused, served

HELLO = b"5\r\nhello\r\n"
CAPPED = {"otherwise": (either(400, 413, 431),)}  # no specification names a status for a surplus of chunk framing
LONG_NAME = b"a" * 1022  # with "5;" in front, a chunk line of 1,024 bytes: the longest
STRICT = {"otherwise": (400,)}
TOO_LARGE = "RFC 9110 section 15.5.14"

NO_SIZES = {
    "empty size": b"",
    "size with a plus": b"+5",
    "size with a minus": b"-5",
    "size with 0x": b"0x5",
    "size with an underscore": b"0_5",
    "size with a space in front": b" 5",
    "size with a tab in front": b"\t5",
    "size with a space behind": b"5 ",
    "size with a tab behind": b"5\t",
    "size with a vertical tab behind": b"5\x0b",
    "size with a NUL behind": b"5\0",
    "size with h": b"5h",
    "size that is a letter beyond f": b"g",
    "size with a decimal point": b"5.0",
    "full-width digit for a size": b"\xef\xbc\x95",
    "superscript digit for a size": b"\xb2",
    "two sizes": b"5 5",
    "word behind a size": b"5 a",
}
EXTENSIONS = {
    "extension": b";a=b",
    "extension without a value": b";a",
    "several extensions": b";a=b;c;d=e",
    "quoted extension": b';a="b c"',
    "quoted semicolon": b';a="b;c"',
    "quoted pair": b';a="b\\"c"',
    "quoted nothing": b';a=""',
    "quoted obs-text": b';a="\xe9"',
    "extension of the longest name": b";" + LONG_NAME,
}
# RFC 9112 section 7.1.1: bad white space around the semicolon is to be removed; strictness does no harm either
SPACED_EXTENSIONS = {
    "extension behind a space": b" ;a=b",
    "extension with a space behind the semicolon": b"; a=b",
    "extensions with spaces everywhere": b' ; a = "b" ; c',
}
NO_EXTENSIONS = {
    "extension without a name": b";",
    "extension without a name, twice": b";;",
    "extension without a name between": b";a;;b",
    "extension without a name behind": b";a=b;",
    "extension without a name but with a value": b";=b",
    "extension without the value that it announces": b";a=",
    "extension of two words": b";a b",
    "quoted extension without an end": b';a="b',
    "extension with a bare CR": b";a=b\rc",
    "extension with a bare LF": b";a=b\nc",
    "extension with a NUL": b";a=\0",
    "extension with a DEL": b";a=\x7f",
    "quoted bare LF": b';a="b\nc"',
    "quoted CRLF": b';a="b\r\nc"',
    "extension of a name too long": b";" + LONG_NAME + b"a",
    "extension of 5,000 bytes": b";" + b"a" * 5000,
}
NO_TRAILERS = {
    "trailer without a colon": [b"nonsense"],
    "trailer with a space before the colon": [b"X-T : v"],
    "trailer with a space in its name": [b"X T: v"],
    "trailer with an empty name": [b": v"],
    "trailer with a NUL": [b"X-T: \0"],
    "trailer that starts with a space": [b" X-T: v"],
    "trailer that starts with a tab": [b"\tX-T: v"],
    "trailer with a bare LF": [b"X-T: v\nX-U: w"],
    "trailer with a bare CR": [b"X-T: v\rX-U: w"],
    "trailer with a bare LF in its value": [b"X-T: a\nb"],
    "trailer with a bare CR in its value": [b"X-T: a\rb"],
    "folded trailer": [b"X-T: v", b" w"],
    "trailer of more than 1,024 bytes": [b"X-T: " + b"v" * 1100],
}


def extension(text: bytes) -> bytes:
    return chunked(b"5" + text + b"\r\nhello\r\n", END_CHUNK)


def size(text: bytes) -> bytes:
    return chunked(text + b"\r\nhello\r\n", END_CHUNK)


def trailer(*lines: bytes) -> bytes:
    return chunked(HELLO, b"0\r\n", *(line + b"\r\n" for line in lines), b"\r\n")


GROUPS = {
    "RFC 9112 section 7.1 Chunked Transfer Coding": [
        served("one", chunked(HELLO, END_CHUNK), received=b"hello"),
        served("several", chunked(chunk(b"one"), chunk(b" "), chunk(b"two"), END_CHUNK), received=b"one two"),
        served("none but the last", chunked(END_CHUNK), received=b""),
        *(served(f"{count} of one byte each", chunked(*(chunk(b"%d" % (n % 10)) for n in range(count)), END_CHUNK),
                 received=b"0123456789" * (count // 10)) for count in (30, 50)),
        served("data with CRLF", chunked(chunk(b"\r\n0\r\n\r\n"), END_CHUNK), received=b"\r\n0\r\n\r\n"),
        served("every byte value", chunked(chunk(bytes(range(256))), END_CHUNK), received=bytes(range(256))),
        served("60 kB in one", chunked(chunk(b"z" * 60_000), END_CHUNK), received=b"z" * 60_000),
        served("600 kB in many", chunked(*(chunk(b"z" * 20_000),) * 30, END_CHUNK), received=b"z" * 600_000),
        served("wsgi.input ends by itself", chunked(HELLO, END_CHUNK), environ={"wsgi.input_terminated": True}),
        served("hexadecimal size, small letters", chunked(b"1a\r\n" + b"h" * 26 + b"\r\n", END_CHUNK),
               received=b"h" * 26),
        served("hexadecimal size, capitals", chunked(b"1A\r\n" + b"h" * 26 + b"\r\n", END_CHUNK), received=b"h" * 26),
        served("zeros in front of the size", size(b"0005"), received=b"hello"),
        served("zeros for the last size", chunked(HELLO, b"000\r\n\r\n"), received=b"hello"),
        *(refused(name, size(text)) for name, text in NO_SIZES.items()),
        refused("size above 64 bits", size(b"10000000000000005"), **CAPPED),
        refused("size of seventeen zeros", size(b"0" * 17), **CAPPED),
        refused("size of 1,000 digits", size(b"f" * 1000), **CAPPED),
        refused("size of 2,000 digits", size(b"f" * 2000), **CAPPED),
        refused("size of 64 bits, all set", size(b"ffffffffffffffff"), 413, section=TOO_LARGE, **CAPPED),
        refused("size above 32 bits", size(b"100000005"), 413, section=TOO_LARGE, **CAPPED),
        refused("minus zero as the last size", chunked(HELLO, b"-0\r\n\r\n")),
        refused("0x0 as the last size", chunked(HELLO, b"0x0\r\n\r\n")),
        refused("space before the last size", chunked(HELLO, b" 0\r\n\r\n")),
        # line ends
        refused("bare LF behind the size", chunked(b"5\nhello\r\n", END_CHUNK)),
        refused("bare CR behind the size", chunked(b"5\rhello\r\n", END_CHUNK)),
        refused("CR CR LF behind the size", chunked(b"5\r\r\nhello\r\n", END_CHUNK)),
        refused("bare LF behind the data", chunked(b"5\r\nhello\n", END_CHUNK)),
        refused("bare CR behind the data", chunked(b"5\r\nhello\r", END_CHUNK)),
        refused("nothing behind the data", chunked(b"5\r\nhello", END_CHUNK)),
        refused("data longer than its size", chunked(b"5\r\nhello!\r\n", END_CHUNK)),
        refused("data shorter than its size", chunked(b"6\r\nhello\r\n", END_CHUNK)),
        refused("two bytes of junk behind the data", chunked(b"5\r\nhelloXX", END_CHUNK)),
        refused("empty line between chunks", chunked(HELLO, b"\r\n", HELLO, END_CHUNK)),
        refused("bare LF behind the last size", chunked(HELLO, b"0\n\r\n")),
        at_once("bare LF in a chunk line without an end", chunked(b"5\n")),
    ],
    "RFC 9112 section 7.1.1 Chunk Extensions": [
        *(served(name, extension(text), received=b"hello") for name, text in EXTENSIONS.items()),
        *(served(name, extension(text), received=b"hello", **STRICT) for name, text in SPACED_EXTENSIONS.items()),
        served("extension on the last chunk", chunked(HELLO, b"0;a=b\r\n\r\n"), received=b"hello"),
        *(refused(name, extension(text)) for name, text in NO_EXTENSIONS.items()),
        refused("extension without end", chunked(b"5;" + b"a" * 200_000 + b"\r\nhello\r\n", END_CHUNK), **CAPPED),
        at_once("extension without end, all of it here", chunked(b"1;" + b"a" * 1100), **CAPPED),
        refused("extensions that outweigh the data, each too long",
                chunked(*(b"1;" + b"a" * 2000 + b"\r\nh\r\n",) * 100, END_CHUNK), **CAPPED),
        refused("extensions that outweigh the data", chunked(*(b"1;" + b"a" * 1000 + b"\r\nh\r\n",) * 70, END_CHUNK),
                **CAPPED),
    ],
    "RFC 9112 section 7.1.2 Chunked Trailer Section": [
        served("trailer field", trailer(b"X-T: v"), received=b"hello", environ={"HTTP_X_T": None}),
        served("several trailer fields", trailer(b"X-T: v", b"X-U: w"), received=b"hello",
               environ={"HTTP_X_U": None}),
        served("several trailer fields, one empty", trailer(b"X-T: v", b"X-U:w", b"X-V:"), received=b"hello",
               environ={"HTTP_X_U": None}),
        served("trailer does not change a field", trailer(b"Host: evil", b"Cookie: a=b"),
               environ={"HTTP_HOST": "a", "HTTP_COOKIE": None}, **STRICT),
        served("trailer does not name the client", trailer(b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6"),
               received=b"hello", environ={"HTTP_X_FORWARDED_FOR": None, "HTTP_FORWARDED": None}),
        served("trailer of the name of a field", chunked(HELLO, b"0\r\nX-A: forged\r\n\r\n").replace(
               b"Host: a", b"Host: a\r\nX-A: real"), environ={"HTTP_X_A": "real"}),
        served("trailer does not close", trailer(b"Connection: close"), received=b"hello", **STRICT),
        served("trailer does not frame", trailer(b"Content-Length: 50", b"Transfer-Encoding: gzip"),
               received=b"hello", environ={"CONTENT_LENGTH": lambda value: value != "50"}, **STRICT),
        *(refused(name, trailer(*lines)) for name, lines in NO_TRAILERS.items()),
        refused("trailer that ends with a bare LF", chunked(HELLO, b"0\r\nX-T: v\r\n\n")),
        refused("bare LF at the end", chunked(HELLO, b"0\r\n\n")),
        refused("bare CR at the end", chunked(HELLO, b"0\r\n\rX")),
        refused("200 kB trailer", trailer(b"X-T: " + b"v" * 200_000), **CAPPED),
        refused("20 kB of trailer fields", trailer(*(b"X: " + b"y" * 1000,) * 20), 431, section="RFC 6585 section 5",
                **CAPPED),
        refused("20,000 trailer fields", trailer(*(b"X: y",) * 20_000), 431, section="RFC 6585 section 5", **CAPPED),
    ],
}  # fmt: skip
