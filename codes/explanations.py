"""What each code means, as docs/errors.md has it: for people, so no worker imports this."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from .code import Code

WIDTH = 80
PARTS = ("Cause", "Consequence", "Remedy")
_ENTRY = re.compile(
    r"^### (?P<code>MW\d{4})\n\*\*(?P<title>[^*\n]+)\*\*: (?P<messages>.+)\n"
    + "".join(rf"- {part}: (?P<{part}>.+)\n" for part in PARTS),
    re.MULTILINE,
)
_MESSAGE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


class Explanation(NamedTuple):
    """An entry of docs/errors.md; its texts are Markdown of one line."""

    code: str
    title: str
    messages: tuple[str, ...]  # as the log has them, for example
    parts: tuple[str, ...]  # see PARTS

    def __str__(self) -> str:
        """For a terminal."""
        margin = max(map(len, PARTS)) + 2
        shown = [f"{self.code}: {self.title}", "", *(f"    {message}" for message in self.messages), ""]
        for name, text in zip(PARTS, self.parts, strict=True):
            head = f"{name}:".ljust(margin)
            shown += textwrap.wrap(plain(text), WIDTH, initial_indent=head, subsequent_indent=" " * margin)
        return "\n".join(shown)


def parse(page: str) -> Iterator[Explanation]:
    """The entries of a page, in its order; what is no whole entry is none."""
    for found in _ENTRY.finditer(page):
        parts = tuple(found[part] for part in PARTS)
        yield Explanation(found["code"], found["title"], tuple(_MESSAGE.findall(found["messages"])), parts)


def explanations() -> dict[str, Explanation]:
    """By code, in their order."""
    page = files(__package__).joinpath("errors.md").read_text("utf-8")
    return {one.code: one for one in parse(page)}


def code_of(text: str) -> Code | None:
    """Whom people mean: "MW3012", "mw3012", "3012"; None: there is no such code."""
    number = text.strip().upper().removeprefix("MW")
    try:
        return Code(int(number)) if number.isdecimal() else None
    except ValueError:
        return None


def plain(text: str) -> str:
    """Markdown of one line without its marks."""
    return _LINK.sub(lambda link: link[1] if link[1] == link[2] else f"{link[1]} (docs/{link[2]})", text).replace(
        "`", ""
    )
