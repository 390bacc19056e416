"""The revision of the application: which version of its code a process is about to import, or has imported.

Looked for where the module lies, before it is imported, in a fixed order; the first that is there is it:

1. app.revision, if it names one;
2. the git commit of the working tree in which the module lies, if git has it there (git_commit);
3. a file REVISION in app.directory, beside the module, or in the release directory;
4. the release directory: what a symbolic link in app.directory leads to (current -> releases/20261129);
5. the version of the distribution (dist-info) that holds the module.

A directory counts only if the code lies in it. What is read is bounded, and shown only if it is printable text.
Standard library only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import util
from importlib.machinery import PathFinder
from typing import NamedTuple

from ..settings import Settings
from ..target import Target, TargetError
from ..unpatched import os
from . import git_commit

AUTO = "auto"
MAX_CHARS = 64  # of what is shown
MAX_FILE_BYTES = 4096  # of REVISION: a longer one is something else
MAX_ENTRIES = 10_000  # of a site-packages directory that are looked at
MAX_RECORD_BYTES = 8 << 20

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME_SEPARATORS = re.compile(r"[-_.]+")  # PEP 503
_INFO = ".dist-info"


class Revision(NamedTuple):
    """A revision, and where it is from, in words."""

    text: str
    source: str


def revision_of(settings: Settings, tell: Callable[[str], None] = lambda _problem: None) -> Revision | None:
    """What is there now; None: nothing that says it. `tell` is told of what is there and is not used."""
    if settings.revision != AUTO:
        return Revision(settings.revision, "app.revision") if settings.revision else None
    try:
        return _found(settings, tell)
    except (OSError, ValueError) as error:
        tell(f"the revision of the application cannot be read: {error}")
        return None


def _found(settings: Settings, tell: Callable[[str], None]) -> Revision | None:
    directory = os.path.realpath(settings.directory)
    code = _code_of(settings) or directory
    distribution = _distribution(code)
    tree = git_commit.tree_of(code if os.path.isdir(code) else os.path.dirname(code))
    ours = tree and ((tree == directory and not distribution) or git_commit.holds(tree, code))
    if ours and (commit := git_commit.commit_of(tree)):
        return Revision(commit, f"git in {tree}")
    release = _release(settings.directory)
    beside = "" if distribution else os.path.dirname(code)
    for place in dict.fromkeys((directory, beside, release)):
        if place and _is_in(code, place) and (found := _revision_file(f"{place.rstrip('/')}/REVISION", tell)):
            return found
    if release and _is_in(code, release) and (name := _shown(os.path.basename(release))):
        return Revision(name, "the release directory")
    if distribution and (version := _shown(distribution[1])):
        return Revision(version, f"the version of {distribution[0]}")
    return None


def _code_of(settings: Settings) -> str:
    """Where an import would find the application: a package's directory, or a file; "" if it is in neither."""
    try:
        target = Target.parse(settings.module)
    except TargetError:
        return ""
    name, _, rest = target.module.partition(".")
    try:
        spec = PathFinder.find_spec(name, [target.root or settings.directory, *sys.path]) or util.find_spec(name)
    except Exception:  # whatever finders of the application's environment raise
        return ""
    if spec is None:
        return ""
    places = list(spec.submodule_search_locations or ())
    if len(places) > 1:  # a namespace package, parts of which are elsewhere
        inside = rest.partition(".")[0]
        there = [at for at in places if os.path.exists(f"{at}/{inside}") or os.path.exists(f"{at}/{inside}.py")]
        places = there or places
    found = places[0] if places else spec.origin if spec.has_location else None
    return os.path.realpath(found) if found else ""


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


# --- the kinds of it ----------------------------------------------------------------------------------------
def _release(directory: str) -> str:
    """Where the last symbolic link of a path leads to, if that looks like a deployment's; else ""."""
    path = os.path.abspath(directory)
    while path not in {"/", ""}:
        parent, name = os.path.split(path)
        if os.path.islink(path):
            leads_to = os.path.realpath(path)
            is_release = path == os.path.abspath(directory) or _is_in(leads_to, os.path.realpath(parent))
            return leads_to if is_release and os.path.basename(leads_to) != name and parent != "/" else ""
        path = parent
    return ""


def _revision_file(path: str, tell: Callable[[str], None]) -> Revision | None:
    if not os.path.lexists(path):
        return None
    lines = git_commit.read_bounded(path, MAX_FILE_BYTES).decode("utf-8", "surrogateescape").strip().splitlines()
    if lines and (text := _shown(lines[0].strip())):
        return Revision(text, path)
    tell(f"{path} is not used: it must be a readable file of at most {MAX_FILE_BYTES} bytes, with the revision as text")
    return None


def _distribution(code: str) -> tuple[str, str] | None:
    """Name and version of what was installed beside the code and holds it."""
    place, module = os.path.split(code)
    found = [name for name in _entries(place) if name.endswith(_INFO)]
    wanted = _normal(module.partition(".")[0])
    for info in sorted(found, key=lambda name: (_normal(name.partition("-")[0]) != wanted, name)):
        record = b"\n" + git_commit.read_bounded(f"{place}/{info}/RECORD", MAX_RECORD_BYTES)
        if b"\n" + os.fsencode(module) + (b"/" if os.path.isdir(code) else b",") in record:
            name, _, version = info.removesuffix(_INFO).partition("-")
            return name, version
    return None


def _entries(directory: str) -> list[str]:
    found: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) >= MAX_ENTRIES:
                    break
    except OSError:
        pass  # it cannot be listed, and imports can work all the same
    return found


def _normal(name: str) -> str:
    return _NAME_SEPARATORS.sub("-", name).lower()


def _shown(text: str) -> str:
    """As it may stand in a line, a label, a terminal; "" if it may not. A hash is cut as those of git are."""
    if _HASH.fullmatch(text):
        return text[: git_commit.SHORT]
    return text[:MAX_CHARS] if text.isprintable() else ""


class Watched:
    """The revision around an import: `known` is what is bound to the code that was imported."""

    def __init__(self, settings: Settings, tell: Callable[[str], None]) -> None:
        self.known = revision_of(settings, tell)
        self._settings = settings
        self._tell = tell

    def __repr__(self) -> str:
        return f"<Watched {self.known}>"

    def is_still(self) -> bool:
        """To be called after the import. False: another revision lies there now, and which one runs is unknown."""
        before, now = self.known, revision_of(self._settings)
        if now == before:
            return True
        self.known = None
        if before is not None:
            self._tell(
                f"the revision changed from {before.text} to {now.text if now is not None else 'an unknown one'} while "
                "the application was imported: which code runs is unknown; reload once it is in its place"
            )
        return False
