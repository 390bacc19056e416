"""Stacks as a tree of calls, from the outermost frame inwards: what threads have in common is kept once.

A frame is a function, its file and the line that runs in it. Reading a line's number out of a code object costs more
than all the rest, so it is done once an instruction. Bounded: what is beyond is counted, and shown as cut.
"""

from __future__ import annotations

import sys
from enum import Enum
from types import CodeType, FrameType
from typing import NamedTuple

from miniwsgi.metrics import board

from ...unpatched import os
from .. import context
from ..file_origins import is_installed, is_stdlib

MAX_NODES = 20_000
MAX_DEPTH = 400
MAX_NAME = 500  # characters of a function's or a file's name; code that was generated may have longer ones
ROOT = 0  # the node of no frame
CUT = "(cut: deeper than is kept)"


class Origin(Enum):
    """Whose code a frame is."""

    APPLICATION = "application"
    LIBRARY = "library"  # installed, but not the application's own package
    STDLIB = "stdlib"
    SERVER = "server"  # miniwsgi


class Frame(NamedTuple):
    """`short` is the file without the entry of sys.path that it was found by."""

    function: str
    file: str
    line: int
    short: str
    origin: Origin


_SERVER = (  # the packages daemon and metrics
    os.path.dirname(os.path.dirname(context.__file__)) + os.sep,
    os.path.dirname(board.__file__) + os.sep,
)


def is_servers(frame: FrameType) -> bool:
    """Whether the outermost frame of this stack is the server's: so is the thread."""
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_SERVER)


class Origins:
    """Whose a file is. `target` is the application's: a package that is installed is the application's all the same."""

    def __init__(self, target: str) -> None:
        module = sys.modules.get(target.partition(":")[0].partition(".")[0])
        path = getattr(module, "__file__", None)
        self._application = os.path.abspath(path) if isinstance(path, str) else ""
        if os.path.basename(self._application) == "__init__.py":
            self._application = os.path.dirname(self._application) + os.sep
        self._search = sorted(
            {os.path.join(os.path.abspath(entry), "") for entry in map(str, sys.path) if entry},
            key=len,
            reverse=True,
        )

    def of(self, file: str) -> Origin:
        if self._application and file.startswith(self._application):
            return Origin.APPLICATION
        if file.startswith(_SERVER):
            return Origin.SERVER
        if is_installed(file):
            return Origin.LIBRARY
        if is_stdlib(file):
            return Origin.STDLIB
        return Origin.APPLICATION

    def short(self, file: str) -> str:
        for entry in self._search:
            if file.startswith(entry):
                return file[len(entry) :]
        return file


class CallTree:
    """Frames and nodes are numbered as they are found; a node is the frame that is called from another node."""

    def __init__(self, origins: Origins, *, nodes: int = MAX_NODES, depth: int = MAX_DEPTH) -> None:
        self.frames: list[Frame] = []
        self.nodes: list[tuple[int, int]] = [(ROOT, -1)]  # (parent, frame); the first is ROOT itself
        self.cut_stacks = 0  # stacks that are shown only as far as there were nodes
        self.cut_depth = 0  # stacks whose outermost frames are missing
        self._origins = origins
        self._most_nodes = nodes
        self._most_depth = depth
        # Code is known by its id, as long as it is held here: its hash is made anew of all that it consists of.
        self._codes: dict[int, CodeType] = {}
        self._by_instruction: dict[tuple[int, int], int] = {}
        self._by_line: dict[tuple[int, int], int] = {}
        self._by_call: dict[tuple[int, int], int] = {}
        self._cut_frame = -1

    def __repr__(self) -> str:
        return f"<CallTree frames={len(self.frames)} nodes={len(self.nodes)}>"

    def node(self, frame: FrameType) -> int:
        """Of a stack, by its innermost frame."""
        by_instruction, path = self._by_instruction, []
        outer: FrameType | None = frame
        while outer is not None:
            found = by_instruction.get((id(outer.f_code), outer.f_lasti))
            path.append(self._number(outer) if found is None else found)
            if len(path) == self._most_depth:
                self.cut_depth += 1
                path.append(self._number_of_cut())
                break
            outer = outer.f_back
        node, by_call = ROOT, self._by_call
        for number in reversed(path):
            inner = by_call.get((node, number))
            if inner is None:
                if len(self.nodes) >= self._most_nodes:
                    self.cut_stacks += 1
                    break
                inner = by_call[node, number] = len(self.nodes)
                self.nodes.append((node, number))
            node = inner
        return node

    def application_frame(self, node: int) -> int:
        """The number of a stack's innermost frame that is the application's own; -1: it has none."""
        while node != ROOT:
            node, number = self.nodes[node]
            if self.frames[number].origin is Origin.APPLICATION:
                return number
        return -1

    def _number(self, frame: FrameType) -> int:
        code, line = frame.f_code, frame.f_lineno or 0
        self._codes[id(code)] = code
        number = self._by_line.get((id(code), line))
        if number is None:
            number = self._by_line[id(code), line] = len(self.frames)
            file = code.co_filename
            short, origin = _end_of(self._origins.short(file)), self._origins.of(file)
            self.frames.append(Frame(_beginning_of(code.co_qualname), _end_of(file), line, short, origin))
        self._by_instruction[id(code), frame.f_lasti] = number
        return number

    def _number_of_cut(self) -> int:
        if self._cut_frame < 0:
            self._cut_frame = len(self.frames)
            self.frames.append(Frame(CUT, "", 0, "", Origin.SERVER))
        return self._cut_frame


def _beginning_of(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _end_of(name: str) -> str:
    return name if len(name) <= MAX_NAME else "…" + name[1 - MAX_NAME :]
