"""Which commit of git a file is from, read from what git keeps: no process, and nothing of its configuration is obeyed.

A repository may be anybody's, and in any state: what is read is bounded and must look as git writes it, else there is
no commit. Refs may be loose or packed (gitrepository-layout(5)); of a repository with reftables none is known.
Standard library only.
"""

from __future__ import annotations

import re
import stat

from ..unpatched import os

MAX_LEVELS = 64  # directories that are looked at upwards
MAX_LINKS = 5  # symbolic refs to symbolic refs, as in git
MAX_LINE_BYTES = 4096
MAX_TABLE_BYTES = 32 << 20  # packed-refs, index: a hundred thousand names and more
SHORT = 10  # digits of a hash that are shown: enough for git to find it in all but the largest repositories

_HASH = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})\s*")
_REF = re.compile(rb"ref:\s*(refs/[!-~\x80-\xff]+)\s*")  # git-check-ref-format(1): UTF-8, for one
_PATHS_FULL = (2, 3)  # versions of an index that hold each name in full (gitformat-index(5))
_LENGTH_MASK = 0xFFF  # of a name, in the flags before it


def tree_of(path: str) -> str:
    """The working tree in which the absolute `path` lies; "" if there is none."""
    for _ in range(MAX_LEVELS):
        if _is_repository(_directory_of(path)):
            return path
        path, below = os.path.dirname(path), path
        if path == below:
            break
    return ""


def commit_of(tree: str) -> str:
    """The first digits of the commit that is checked out in a working tree; "" if that is not to be seen."""
    directory = _directory_of(tree)
    common = _common(directory)
    found = read_bounded(f"{directory}/HEAD", MAX_LINE_BYTES)
    for _ in range(MAX_LINKS):
        if _HASH.fullmatch(found):
            return found[:SHORT].decode("ascii")
        if (link := _REF.fullmatch(found)) is None or b".." in link[1]:
            break
        name = os.fsdecode(link[1])
        found = read_bounded(f"{directory}/{name}", MAX_LINE_BYTES) or read_bounded(f"{common}/{name}", MAX_LINE_BYTES)
        found = found or _packed(common, link[1])
    return ""


def holds(tree: str, path: str) -> bool:
    """Whether git has `path`, a file or something in a directory, in its index of a working tree. False: or unsure."""
    if path == tree:
        return True  # the package is the tree
    data = read_bounded(f"{_directory_of(tree)}/index", MAX_TABLE_BYTES)
    if data[:4] != b"DIRC":
        return False
    if int.from_bytes(data[4:8], "big") not in _PATHS_FULL:
        return True  # its names are shortened: that they are there is assumed
    wanted = os.fsencode(os.path.relpath(path, tree)) + (b"/" if os.path.isdir(path) else b"\0")
    at = data.find(wanted)
    while at > 0:
        length = int.from_bytes(data[at - 2 : at], "big") & _LENGTH_MASK
        if length == _LENGTH_MASK or data.find(b"\0", at) == at + length:
            return True  # it is the beginning of a name
        at = data.find(wanted, at + 1)
    return False


def read_bounded(path: str, limit: int) -> bytes:
    """What a regular file holds; empty if it cannot be read, is no such file, or is larger than `limit` bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)  # a pipe must not hold us
    except (OSError, ValueError):
        return b""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return b""
        found = b""
        while len(found) <= limit and (more := os.read(fd, limit + 1 - len(found))):
            found += more
        return found if len(found) <= limit else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _directory_of(tree: str) -> str:
    """Where git keeps a working tree's own: `.git`, or what such a file names (a worktree, a submodule)."""
    place = f"{tree.rstrip('/')}/.git"
    named = read_bounded(place, MAX_LINE_BYTES)
    if not named.startswith(b"gitdir:"):
        return place
    return os.path.join(tree, os.fsdecode(named[len(b"gitdir:") :].strip()))


def _is_repository(directory: str) -> bool:
    return os.path.isfile(f"{directory}/HEAD")


def _common(directory: str) -> str:
    """Where what all working trees of a repository share lies."""
    named = os.fsdecode(read_bounded(f"{directory}/commondir", MAX_LINE_BYTES).strip())
    return os.path.join(directory, named) if named else directory


def _packed(common: str, ref: bytes) -> bytes:
    """The line of packed-refs, without its name; empty if there is none."""
    data = read_bounded(f"{common}/packed-refs", MAX_TABLE_BYTES)
    end = data.find(b" " + ref + b"\n")
    return data[data.rfind(b"\n", 0, end) + 1 : end] if end >= 0 else b""
