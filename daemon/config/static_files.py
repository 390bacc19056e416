"""An entry of [[static]]: files that the server answers with by itself.

It is a table; on the command line, and in the environment, PATH=DIRECTORY stands for { path = …, directory = … }.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .declaration import Key, key
from .kinds import Boolean, Kind, Many, MismatchError, Path, Text, Wrong, quoted
from .tables import options_of, parse_table

Pairs = tuple[tuple[str, str], ...]

# Of the server's own making, which an entry must not say another way.
_OWN_FIELDS = frozenset({
    "accept-ranges", "allow", "connection", "content-encoding", "content-length", "content-range", "date", "etag",
    "last-modified", "location", "transfer-encoding", "vary",
})  # fmt: skip
_SAYS_OTHERWISE = {"cache-control": "cache", "content-type": "types"}  # the options for them


class Prefix(Kind[str]):
    """A prefix of URL paths; a slash at its end is added."""

    expected = 'a prefix of URL paths such as "/static/", decoded, without ?, #, %, empty or dot segments'
    _SEGMENTS = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[\x21\x22\x24\x26-\x2e\x30-\x3e\x40-\x5b\x5d-\x7e]+)*/")

    def parse(self, value: object, base: str) -> str:
        path = (
            f"{value.rstrip('/')}/"
            if isinstance(value, str) and value.startswith("/") and not value.endswith("//")
            else ""
        )
        if not self._SEGMENTS.fullmatch(path):
            raise MismatchError(self.expected)
        return path


class Table(Kind[Pairs]):
    """A table of texts, in its order."""

    name = "table of texts"

    def __init__(self, names: Text, values: Text, example: str, *, alone: str = "") -> None:
        """`alone`: the name that a text stands for which is no table."""
        self._names, self._values, self._alone = names, values, alone
        self.expected = f"{values.expected + ', or ' if alone else ''}a table as {example}"

    def accepts(self) -> str:
        return "or a text" if self._alone else ""

    def parse(self, value: object, base: str) -> Pairs:
        if isinstance(value, str) and self._alone:
            value = {self._alone: value}
        if not isinstance(value, dict):
            raise MismatchError(self.expected)
        wrong: list[Wrong] = []
        for name, text in value.items():
            for kind, part, what in ((self._names, name, "the name "), (self._values, text, "")):
                try:
                    kind.parse(part, base)
                except MismatchError as error:
                    wrong.append(Wrong(part, f"{what}{error.expected}", f".{name}"))
        if wrong:
            raise MismatchError(self.expected, tuple(wrong))
        return tuple(value.items())

    def show(self, value: Pairs) -> str:
        if self._alone and [name for name, _ in value] == [self._alone]:
            return quoted(value[0][1])
        inside = ", ".join(f"{quoted(name)} = {quoted(text)}" for name, text in value)
        return f"{{ {inside} }}" if inside else "{}"

    def as_json(self, value: Pairs) -> Any:
        return dict(value)


def _field_name(name: str) -> str:
    if (lower := name.lower()) in _OWN_FIELDS:
        raise MismatchError("of a field that the server does not set itself")
    if option := _SAYS_OTHERWISE.get(lower):
        raise MismatchError(f"of another field: `{option}` is for this one")
    return name


_VALUE = Text("a field's value, in ASCII", r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticEntry:
    """Files below a prefix of URLs, answered by the server itself, before the application (static.md)."""

    path: str = key(
        Prefix(),
        "",
        "The prefix of URL paths; the longest that fits wins. A slash at its end is added.",
        computed="none: it is required",
    )
    directory: str = key(
        Path("directory"),
        "",
        "Where the files are. It is opened at each start and reload, and stays the same directory until the next.",
        computed="none: it is required",
    )
    cache: tuple[tuple[str, str], ...] = key(
        Table(
            Text('a glob such as "*.css"', r".+"), _VALUE, '{ "*.html" = "no-cache", "*" = "max-age=3600" }', alone="*"
        ),
        (),
        "Cache-Control of all files, or by globs of their names below the directory (`*` fits slashes, too), of which "
        "the first counts that fits.",
    )
    index: str = key(
        Text('a file\'s name such as "index.html"', r"[^/\x00-\x1f.][^/\x00-\x1f]*", off=True),
        "",
        "The file that is a directory's answer. A directory's URL without a slash at its end is redirected then.",
    )
    fallthrough: bool = key(
        Boolean(), False, "The application answers what is absent, instead of 404. Nothing else falls through."
    )
    symlinks: bool = key(
        Boolean(),
        False,
        "Follow symbolic links in the directory, if they are relative and stay in it.",
    )
    precompressed: bool = key(
        Boolean(), True, "Send `name.br`, `name.zst` or `name.gz` beside a file to clients that accept it."
    )
    internal: bool = key(
        Boolean(),
        False,
        "Not for clients: for answers of the application that say X-Accel-Redirect, or X-Sendfile with a path below "
        "the directory.",
    )
    types: tuple[tuple[str, str], ...] = key(
        Table(
            Text("an ending such as .js", r"\.?[^./\s]+"), Text("a media type", r"[\x21-\x7e]+/[\x20-\x7e]+"),
            '{ ".geojson" = "application/geo+json" }',
        ),
        (),
        "Media types by the ending of names, before the built-in ones.",
    )  # fmt: skip
    headers: tuple[tuple[str, str], ...] = key(
        Table(
            Text("a field's name", r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", check=_field_name), _VALUE,
            '{ "Access-Control-Allow-Origin" = "*" }',
        ),
        (),
        "More fields of each answer with a file.",
    )  # fmt: skip


OPTIONS = options_of(StaticEntry)
_REQUIRED = ("path", "directory")


def contradictions(entry: StaticEntry) -> Iterator[tuple[str, str]]:
    """Options that do not go with each other, each with what was expected of it."""
    if entry.internal and entry.fallthrough:
        yield "fallthrough", "false: no request of a client reaches an entry with internal = true"


class Entry(Kind[StaticEntry]):
    """A table, or PATH=DIRECTORY."""

    name = "table"
    plural = "tables"
    expected = 'a table with path and directory, or "PATH=DIRECTORY"'
    table = True

    def identity(self, value: StaticEntry) -> object:
        return value.path

    def parse(self, value: object, base: str) -> StaticEntry:
        if isinstance(value, str) and "=" in value:
            value = dict(zip(_REQUIRED, value.split("=", 1), strict=True))
        if not isinstance(value, dict):
            raise MismatchError(self.expected)
        entry = StaticEntry(**parse_table(value, OPTIONS, _REQUIRED, base, self.expected))
        if wrong := [Wrong(getattr(entry, name), told, f".{name}") for name, told in contradictions(entry)]:
            raise MismatchError(self.expected, tuple(wrong))
        return entry

    def show(self, value: StaticEntry) -> str:
        return f"{{ {', '.join(f'{name} = {text}' for name, text in shown_options(value))} }}"

    def as_json(self, value: StaticEntry) -> dict[str, Any]:
        return {name: OPTIONS[name].kind.as_json(getattr(value, name)) for name in _given(value)}


def shown_options(entry: StaticEntry) -> Iterator[tuple[str, str]]:
    """What is not as by default, as TOML."""
    for name in _given(entry):
        yield name, OPTIONS[name].kind.show(getattr(entry, name))


def _given(entry: StaticEntry) -> list[str]:
    return [name for name in OPTIONS if name in _REQUIRED or getattr(entry, name) != OPTIONS[name].default]


STATIC: Key = Key(
    "static",
    Many(Entry()),
    (),
    "Files that the server answers with by itself: PATH is a prefix of URLs, as in /static/=/srv/shop/static.",
    flag="--static",
)
