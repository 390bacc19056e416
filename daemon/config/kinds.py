"""The kinds of values that a configuration key can hold: what is accepted, how it is written and shown.

A kind turns what TOML (or a flag, or an environment variable) holds into the value that the program uses:
bytes, seconds, absolute paths. It raises `MismatchError` saying what was expected. `show` is the inverse:
TOML that `parse` turns into an equal value. Nothing here knows any key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from ..permission import closed

T = TypeVar("T")

TRUE = frozenset(("true", "on", "yes", "1"))
FALSE = frozenset(("false", "off", "no", "0"))
OFF = frozenset(("off", "false", "0", ""))


def is_off(value: object) -> bool:
    """Whether a value says "off": one rule for every key that can be. False, 0 and "" say it, too."""
    if isinstance(value, str):
        return value.strip().lower() in OFF
    return value is False or (isinstance(value, (int, float)) and value == 0)


def quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, "String"): JSON's escapes, and DEL too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class Wrong(NamedTuple):
    """What is wrong within a value of several parts; `where` leads to it from the key: "[1].certificate"."""

    value: object
    expected: str
    where: str = ""
    unknown: bool = False  # a name that there is not; `expected` is a near miss


class MismatchError(Exception):
    """A value that its key does not accept. `expected` completes the sentence "expected …".

    For lists and tables `items` has each part that is wrong.
    """

    def __init__(self, expected: str, items: tuple[Wrong, ...] = ()) -> None:
        super().__init__(expected)
        self.expected = expected
        self.items = items


class Kind(Generic[T]):
    """One kind of value. `name` is what the reference calls it, `expected` completes "expected …"."""

    name = "text"
    plural = ""  # where it is not the name with an s
    expected = "a text"
    many = False  # given more than once on a command line, the values make a list
    table = False  # a table stands for one value

    def parse(self, value: object, base: str) -> T:
        """The program's value for a TOML value; relative paths start at the directory `base`.

        Raises MismatchError.
        """
        raise NotImplementedError

    def from_text(self, text: str) -> object:
        """What TOML would hold for a value that a flag or an environment variable carries."""
        return text

    def accepts(self) -> str:
        """What is accepted, in Markdown for the reference; "" if the kind's name says it."""
        return ""

    def show(self, value: T) -> str:
        """The value as TOML."""
        return quoted(str(value))

    def as_json(self, value: T) -> Any:
        """The value as JSON has it."""
        return value

    def identity(self, value: T) -> object:
        """What no two values of a list have in common."""
        return value


class Text(Kind[str]):
    """A string, restricted by a pattern or a check. With `off`, what `is_off` says means the empty string."""

    def __init__(
        self,
        expected: str = "a text",
        pattern: str = "",
        check: Callable[[str], str] | None = None,
        off: bool = False,
        name: str = "text",
    ) -> None:
        self.name = name
        self.expected = expected + (' or "off"' if off else "")
        self._pattern = re.compile(pattern, re.ASCII) if pattern else None
        self._check = check
        self._off = off

    def accepts(self) -> str:
        return "or off" if self._off else ""

    def parse(self, value: object, base: str) -> str:
        if self._off and is_off(value):
            return ""
        if not isinstance(value, str) or "\0" in value:
            raise MismatchError(self.expected)
        if self._pattern and not self._pattern.fullmatch(value):
            raise MismatchError(self.expected)
        return self._check(value) if self._check else value

    def show(self, value: str) -> str:
        return '"off"' if self._off and not value else quoted(value)


class Choice(Kind[str]):
    """One of a few words. `true` and `false` may be among them, as TOML's booleans."""

    name = "word"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.expected = " | ".join(word if word in ("true", "false") else f'"{word}"' for word in words)

    def accepts(self) -> str:
        return ", ".join(f"`{word}`" for word in self.words)

    def parse(self, value: object, base: str) -> str:
        word = str(value).lower() if isinstance(value, (str, bool)) else ""
        if word not in self.words:
            raise MismatchError(self.expected)
        return word

    def show(self, value: str) -> str:
        return value if value in ("true", "false") else f'"{value}"'


class Boolean(Kind[bool]):
    name = "switch"
    expected = "true or false"

    def accepts(self) -> str:
        return "`true`, `false`"

    def parse(self, value: object, base: str) -> bool:
        if not isinstance(value, bool):
            raise MismatchError(self.expected)
        return value

    def show(self, value: bool) -> str:
        return "true" if value else "false"

    def from_text(self, text: str) -> object:
        word = text.strip().lower()
        return True if word in TRUE else False if word in FALSE else text


class Mode(Kind[Any]):
    """Permission bits, in octal, as a text: a bare 660 in TOML would be decimal. None: left as it is."""

    name = "octal text"
    expected = 'permission bits in octal, as a text: "0660"'

    def __init__(self, optional: bool = False) -> None:
        self._optional = optional

    def parse(self, value: object, base: str) -> int | None:
        if self._optional and value == "":
            return None
        if not isinstance(value, str) or not re.fullmatch(r"(0o)?[0-7]{1,4}", value) or int(value, 8) > 0o777:
            raise MismatchError(self.expected)
        return int(value, 8)

    def show(self, value: int | None) -> str:
        return '""' if value is None else f'"{value:04o}"'


class Path(Kind[str]):
    """A path, made absolute; symbolic links stay. `must` it be a "file", a "directory", a "program"?"""

    name = "path"

    def __init__(self, must: str = "", off: bool = False, words: tuple[str, ...] = ()) -> None:
        self._must, self._off, self._words = must, off, words
        self.expected = {
            "": "a path",
            "file": "the path of a file that can be read",
            "directory": "the path of a directory",
            "program": "the path of a program, or its name on PATH",
        }[must]
        for word in words:
            self.expected += f', "{word}"'
        if off:
            self.expected += ' or "off"'

    def accepts(self) -> str:
        also = [f"`{word}`" for word in self._words] + ["off"] * self._off
        return "or " + ", ".join(also) if also else ""

    def parse(self, value: object, base: str) -> str:
        if is_off(value):
            if self._off:
                return ""
            raise MismatchError(f"{self.expected}; it cannot be off")
        if isinstance(value, str) and value in self._words:
            return value
        if not isinstance(value, str) or "\0" in value:
            raise MismatchError(self.expected)
        path = os.path.normpath(os.path.join(base, os.path.expanduser(value)))
        if self._must == "program":
            return self._program(value, path)
        if self._must == "directory" and not os.path.isdir(path):
            raise MismatchError(f"{self.expected}{_resolved(value, path)}{_why(path)}")
        if self._must == "file" and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise MismatchError(f"{self.expected}{_resolved(value, path)}{_why(path)}")
        return path

    def _program(self, value: str, path: str) -> str:
        found = _executable(path if "/" in value or value.startswith("~") else value)
        if not found:
            barred = closed(os.path.realpath(path)) if "/" in value else ""
            why = f"; {barred}" if barred else ""
            raise MismatchError(f"{self.expected}{_resolved(value, path) if '/' in value else ''}{why}")
        return os.path.abspath(found)

    def show(self, value: str) -> str:
        return '"off"' if self._off and not value else quoted(value)


def _executable(program: str) -> str:
    """Its path, looked for on PATH unless it is one; "" where there is none that we may execute.

    What PATH has that is not absolute, or empty, is passed over: it would be a place where we happen to be started.
    """
    directories = [""] if "/" in program else list(filter(os.path.isabs, os.get_exec_path()))
    paths = (os.path.join(directory, program) for directory in directories)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def _resolved(value: str, path: str) -> str:
    return "" if path == value else f" (it is taken as {path})"


def _why(path: str) -> str:
    if why := closed(path):
        return f"; {why}"
    if not os.path.lexists(path):
        return "; there is nothing of that name"
    if os.path.isdir(path):
        return "; it is a directory"
    return "; it is no directory"


class Many(Kind[tuple[T, ...]]):
    """A list of one kind; a single value stands for a list of one. Given as a text, commas separate."""

    many = True

    def __init__(self, item: Kind[T], low: int = 0) -> None:
        self.item, self.low = item, low
        self.name = f"list of {item.plural or item.name + 's'}"
        self.expected = f"a list, each item {item.expected}"

    def parse(self, value: object, base: str) -> tuple[T, ...]:
        items = [value] if isinstance(value, str) or (self.item.table and isinstance(value, dict)) else value
        if not isinstance(items, (list, tuple)):
            if type(value) is int:
                self.item.parse(value, base)  # it may say what is meant: bind = 8000
            raise MismatchError(self.expected)
        if len(items) < self.low:
            raise MismatchError(f"{self.expected}; at least one")
        parsed: list[T] = []
        known: list[object] = []
        wrong: list[Wrong] = []
        for number, item in enumerate(items):
            try:
                one = self.item.parse(item, base)
            except MismatchError as error:
                if error.items:
                    wrong += [
                        part._replace(where=f"[{number}]{part.where}" if part.where else "") for part in error.items
                    ]
                else:
                    wrong.append(Wrong(item, error.expected))
                continue
            if self.item.identity(one) in known:
                wrong.append(Wrong(item, "each item once"))
            known.append(self.item.identity(one))
            parsed.append(one)
        if wrong:
            raise MismatchError(self.expected, tuple(wrong))
        return tuple(parsed)

    def from_text(self, text: str) -> object:
        if self.item.table and text.lstrip().startswith("{"):
            return [text]
        return [part.strip() for part in text.split(",") if part.strip()]

    def show(self, value: tuple[T, ...]) -> str:
        return "[" + ", ".join(self.item.show(item) for item in value) + "]"

    def as_json(self, value: tuple[T, ...]) -> Any:
        return [self.item.as_json(item) for item in value]


class Variables(Kind[Mapping[str, str]]):
    """Environment variables: a table of texts."""

    name = "table of texts"
    expected = 'a table of texts, as { NAME = "value" }'
    many = True

    def from_text(self, text: str) -> object:
        return (text,)

    def parse(self, value: object, base: str) -> Mapping[str, str]:
        if isinstance(value, tuple):  # from the command line: NAME=VALUE, several times
            bare = [str(text).partition("=")[0] for text in value if "=" not in str(text)]
            if bare:
                raise MismatchError(f"NAME=VALUE; {bare[0]!r} has no '='")
            value = dict(str(text).split("=", 1) for text in value)
        if not isinstance(value, dict):
            raise MismatchError(self.expected)
        for name, text in value.items():
            if not name or "=" in name or "\0" in name:
                raise MismatchError(f"a variable's name without '=', not {name!r}")
            if not isinstance(text, str) or "\0" in text:
                raise MismatchError(f"a text for {name}, in quotes")
        return dict(value)

    def show(self, value: Mapping[str, str]) -> str:
        pairs = (f"{_toml_name(name)} = {quoted(text)}" for name, text in value.items())
        inside = ", ".join(pairs)
        return f"{{ {inside} }}" if inside else "{}"

    def as_json(self, value: Mapping[str, str]) -> Any:
        return dict(value)


def _toml_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)
