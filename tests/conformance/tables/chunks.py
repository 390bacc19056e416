"""Chunked bodies: sizes, extensions, line ends, trailers (RFC 9112, section 7.1)."""

from __future__ import annotations

from ..case import END_CHUNK, chunk, chunked, either, refused, served

TOPIC = "chunks"
HELLO = b"5\r\nhello\r\n"
CAPPED = either(400, 413, 431)  # no specification names a status for a surplus of chunk framing


def extension(text: bytes) -> bytes:
    return chunked(b"5" + text + b"\r\nhello\r\n", END_CHUNK)


def size(text: bytes) -> bytes:
    return chunked(text + b"\r\nhello\r\n", END_CHUNK)


def trailer(*lines: bytes) -> bytes:
    return chunked(HELLO, b"0\r\n", *(line + b"\r\n" for line in lines), b"\r\n")


CASES = [
    served("one", chunked(HELLO, END_CHUNK), received=b"hello"),
    served("several", chunked(chunk(b"one"), chunk(b" "), chunk(b"two"), END_CHUNK), received=b"one two"),
    served("none but the last", chunked(END_CHUNK), received=b""),
    served("of one byte each", chunked(*(chunk(b"%d" % (n % 10)) for n in range(50)), END_CHUNK),
           received=b"0123456789" * 5),
    served("data with CRLF", chunked(chunk(b"\r\n0\r\n\r\n"), END_CHUNK), received=b"\r\n0\r\n\r\n"),
    served("every byte value", chunked(chunk(bytes(range(256))), END_CHUNK), received=bytes(range(256))),
    served("60 kB in one", chunked(chunk(b"z" * 60_000), END_CHUNK), received=b"z" * 60_000),
    served("600 kB in many", chunked(*(chunk(b"z" * 20_000),) * 30, END_CHUNK), received=b"z" * 600_000),
    served("wsgi.input ends by itself", chunked(HELLO, END_CHUNK), environ={"wsgi.input_terminated": True}),
    # size
    served("hexadecimal size, small letters", chunked(b"1a\r\n" + b"h" * 26 + b"\r\n", END_CHUNK), received=b"h" * 26),
    served("hexadecimal size, capitals", chunked(b"1A\r\n" + b"h" * 26 + b"\r\n", END_CHUNK), received=b"h" * 26),
    served("zeros in front of the size", size(b"0005"), received=b"hello"),
    served("zeros for the last size", chunked(HELLO, b"000\r\n\r\n"), received=b"hello"),
    refused("empty size", size(b"")),
    refused("size with a plus", size(b"+5")),
    refused("size with a minus", size(b"-5")),
    refused("size with 0x", size(b"0x5")),
    refused("size with an underscore", size(b"0_5")),
    refused("size with a space in front", size(b" 5")),
    refused("size with a space behind", size(b"5 ")),
    refused("size with a tab behind", size(b"5\t")),
    refused("size with a vertical tab behind", size(b"5\x0b")),
    refused("size with a NUL behind", size(b"5\0")),
    refused("size with h", size(b"5h")),
    refused("size that is a letter beyond f", size(b"g")),
    refused("size with a decimal point", size(b"5.0")),
    refused("full-width digit for a size", size(b"\xef\xbc\x95")),
    refused("superscript digit for a size", size(b"\xb2")),
    refused("two sizes", size(b"5 5")),
    refused("size above 64 bits", size(b"10000000000000005"), CAPPED),
    refused("size of 64 bits, all set", size(b"ffffffffffffffff"), CAPPED),
    refused("size above 32 bits", size(b"100000005"), CAPPED),
    refused("size of 1,000 digits", size(b"f" * 1000), CAPPED),
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
    refused("bare LF at the end", chunked(HELLO, b"0\r\n\n")),
    refused("bare CR at the end", chunked(HELLO, b"0\r\n\rX")),
    # extensions
    served("extension", extension(b";a=b"), received=b"hello"),
    served("extension without a value", extension(b";a"), received=b"hello"),
    served("several extensions", extension(b";a=b;c;d=e"), received=b"hello"),
    served("quoted extension", extension(b';a="b c"'), received=b"hello"),
    served("quoted semicolon", extension(b';a="b;c"'), received=b"hello"),
    served("quoted pair", extension(b';a="b\\"c"'), received=b"hello"),
    served("extension on the last chunk", chunked(HELLO, b"0;a=b\r\n\r\n"), received=b"hello"),
    # RFC 9112, section 7.1.1: bad white space around the semicolon is to be removed; strictness does no harm either
    served("extension behind a space", extension(b" ;a=b"), received=b"hello", otherwise=(400,)),
    served("extension with a space behind the semicolon", extension(b"; a=b"), received=b"hello", otherwise=(400,)),
    refused("extension without a name", extension(b";")),
    refused("quoted extension without an end", extension(b';a="b')),
    refused("extension with a bare CR", extension(b";a=b\rc")),
    refused("extension with a bare LF", extension(b";a=b\nc")),
    refused("quoted bare LF", extension(b';a="b\nc"')),
    refused("extension with a NUL", extension(b";a=\0")),
    refused("extension with a DEL", extension(b";a=\x7f")),
    refused("extension without end", chunked(b"5;" + b"a" * 200_000 + b"\r\nhello\r\n", END_CHUNK), CAPPED),
    refused("extensions that outweigh the data",
            chunked(*(b"1;" + b"a" * 2000 + b"\r\nh\r\n",) * 100, END_CHUNK), CAPPED),
    # trailers
    served("trailer field", trailer(b"X-T: v"), received=b"hello", environ={"HTTP_X_T": None}),
    served("several trailer fields", trailer(b"X-T: v", b"X-U: w"), received=b"hello", environ={"HTTP_X_U": None}),
    served("trailer does not change a field",
           trailer(b"Host: evil", b"Cookie: a=b"), environ={"HTTP_HOST": "a", "HTTP_COOKIE": None},
           otherwise=(400,)),
    served("trailer does not name the client", trailer(b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6"),
           received=b"hello", environ={"HTTP_X_FORWARDED_FOR": None, "HTTP_FORWARDED": None}),
    served("trailer of the name of a field", chunked(HELLO, b"0\r\nX-A: forged\r\n\r\n").replace(
           b"Host: a", b"Host: a\r\nX-A: real"), environ={"HTTP_X_A": "real"}),
    served("trailer does not close", trailer(b"Connection: close"), received=b"hello", otherwise=(400,)),
    served("trailer does not frame", trailer(b"Content-Length: 50", b"Transfer-Encoding: gzip"), received=b"hello",
           otherwise=(400,)),
    refused("trailer without a colon", trailer(b"nonsense")),
    refused("trailer with a space before the colon", trailer(b"X-T : v")),
    refused("trailer with a space in its name", trailer(b"X T: v")),
    refused("trailer with an empty name", trailer(b": v")),
    refused("trailer with a NUL", trailer(b"X-T: \0")),
    refused("folded trailer", trailer(b"X-T: v", b" w")),
    refused("trailer that starts with a space", trailer(b" X-T: v")),
    refused("trailer with a bare LF", chunked(HELLO, b"0\r\nX-T: v\nX-U: w\r\n\r\n")),
    refused("trailer with a bare CR", chunked(HELLO, b"0\r\nX-T: v\rX-U: w\r\n\r\n")),
    refused("trailer that ends with a bare LF", chunked(HELLO, b"0\r\nX-T: v\r\n\n")),
    refused("200 kB trailer", trailer(b"X-T: " + b"v" * 200_000), CAPPED),
    refused("20,000 trailer fields", trailer(*(b"X: y",) * 20_000), CAPPED),
]  # fmt: skip
