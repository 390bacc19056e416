"""The frames in a dump of stacks, thread by thread, as faulthandler writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .stacks import HEADING

_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')
_OURS = re.compile(r"/miniwsgi/(?:daemon|metrics)/")
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_PYTHONS = re.compile(r"^<frozen |/lib(?:64)?/python3(?:\.\d+t?)?/")
SHOWN_PARTS = 2  # of the path of a file that is in neither


class Frame(NamedTuple):
    """A line of Python that a thread is in."""

    file: str
    line: int  # 0: not known
    function: str

    def shown(self, directory: str) -> str:
        """For people: "shop/db.py:38 in load", from where packages are installed on, or from app.directory."""
        file, own = self.file, f"{directory.rstrip('/')}/"
        if (packaged := _PACKAGES.match(file)) is not None:
            file = file[packaged.end() :]
        elif directory and file.startswith(own):
            file = file.removeprefix(own)
        else:
            file = "/".join(file.split("/")[-SHOWN_PARTS:])
        return f"{file}:{self.line} in {self.function}"


class StackDump(NamedTuple):
    """By thread (threading.get_ident()), the innermost frame first; `current` is the one that was marked, 0 none.

    `oldest`: the thread that its process began with, which is listed last; 0 not known: not all are listed.
    """

    threads: dict[int, list[Frame]]
    current: int = 0
    oldest: int = 0

    def of(self, ident: int) -> list[Frame]:
        """A thread's frames. 0 is the ident of the one that its process was forked for."""
        return self.threads.get(ident or self.oldest, [])

    def marks(self, ident: int) -> bool:
        """Whether it is the marked one."""
        return self.current != 0 and (ident or self.oldest) == self.current


def parse(text: str) -> StackDump:
    """What a dump holds; nothing, if it is a line that says why there is none."""
    threads: dict[int, list[Frame]] = {}
    current, oldest, frames = 0, 0, []
    for line in text.splitlines():
        if (heading := HEADING.match(line)) is not None:
            ident = int(heading[1], 16)
            frames = threads[ident] = []
            current = ident if line.startswith("Current") else current
            oldest = ident
        elif line == "...":  # and more threads
            oldest = 0
        elif (found := _FRAME.match(line)) is not None:
            frames.append(Frame(found[1], int(found[2]) if found[2].isdigit() else 0, found[3]))
    return StackDump(threads, current, oldest)


def where(frames: Sequence[Frame], directory: str, known: str = "") -> str:
    """The innermost frame of the application; else that of a package, else that of Python's own; "" none but ours.

    `known`: which frame its worker took for the application's innermost, as that names it; "" it has not said so.
    `directory`: app.directory, from where it is shown.
    """
    if known and (meant := next((frame for frame in frames if _is(frame, known)), None)) is not None:
        return meant.shown(directory)
    others = [frame for frame in frames if not _OURS.search(frame.file)]
    packaged = [frame for frame in others if _PACKAGES.match(frame.file) or not _PYTHONS.search(frame.file)]
    own = [frame for frame in packaged if not _PACKAGES.match(frame.file)]
    found = next(iter(own or packaged or others), None)
    return found.shown(directory) if found is not None else ""


def _is(frame: Frame, known: str) -> bool:
    """A worker leaves out of a file's path the entry of sys.path that it is below."""
    return f"/{frame.file}:{frame.line} in {frame.function}".endswith(f"/{known}")
