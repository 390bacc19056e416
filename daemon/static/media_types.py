"""Media types by the end of a file's name, with the charset where the type has one (RFC 6838, RFC 6657).

A table of its own: what the machine's /etc/mime.types says would differ from host to host.
"""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN = "application/octet-stream"
_UTF_8 = "; charset=utf-8"

_TABLE = {
    f"text/css{_UTF_8}": "css",
    f"text/csv{_UTF_8}": "csv",
    f"text/html{_UTF_8}": "html htm",
    f"text/javascript{_UTF_8}": "js mjs",  # RFC 9239
    f"text/markdown{_UTF_8}": "md",
    f"text/plain{_UTF_8}": "txt text log",
    f"text/vtt{_UTF_8}": "vtt",
    f"text/calendar{_UTF_8}": "ics",
    f"text/xml{_UTF_8}": "xml xsl",
    "application/atom+xml": "atom",
    "application/epub+zip": "epub",
    "application/gzip": "gz tgz",
    "application/java-archive": "jar",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/xhtml+xml": "xhtml",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg jpeg",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
}
TYPES: Mapping[str, str] = {ending: kind for kind, endings in _TABLE.items() for ending in endings.split()}


def media_type(name: str, own: Mapping[str, str]) -> str:
    """The Content-Type of a file of this name; `own` is by ending, without its dot, and wins."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    ending = ending.lower() if dot else ""
    return own.get(ending) or TYPES.get(ending, UNKNOWN)
