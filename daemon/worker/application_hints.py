"""What to say when the application does not boot: near misses, remedies, and the user's own frames.

Functions return text and raise nothing. Standard library only.
"""

from __future__ import annotations

import errno
import importlib
import re
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType, TracebackType
from typing import Any

from ..permission import closed
from ..target import Target
from ..unpatched import os

MAX_MESSAGE_CHARS = 500
MAX_NAMES = 6
BUSY = frozenset({errno.EADDRINUSE, errno.EAGAIN, errno.EDEADLK, errno.ETXTBSY, errno.EBUSY})
LOCK_FILES = (".pid", ".lock", ".lck")
# What databases and lock libraries say: SQLite, LMDB, DuckDB, RocksDB, LevelDB, filelock, portalocker, dbm …
HELD = re.compile(
    r"address already in use|resource temporarily unavailable|(?:is|already) locked|lock hold by"
    r"|could not (?:set|acquire|obtain|get) (?:\w+ )?lock|lock .*could not be acquired|already running",
    re.IGNORECASE,
)
MISTAKES = (NameError, AttributeError, ImportError, TypeError, SyntaxError)  # whose messages have any names in them
PATH_DROPPED = "the daemon's PYTHONPATH is not passed on, as app.python is of another environment: app.env can set one"

APPLICATIONS_ARGUMENTS = frozenset(("environ", "env", "start_response"))
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__)) + os.sep


# --- tracebacks ----------------------------------------------------------------------------------------
def _is_machinery(filename: str) -> bool:
    """Whether a frame is of this server or of the import system rather than of the application."""
    return filename.startswith(("<frozen importlib", _OURS, _IMPORTLIB))


def has_user_frames(traceback: TracebackType | None) -> bool:
    """Whether any of the application's code was running."""
    while traceback is not None:
        if not _is_machinery(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False


def user_traceback(error: BaseException) -> str:
    """The traceback, with its causes, without the frames of this server and of the import system.

    "" if no code of the application was running; a syntax error is shown with its line all the same.
    """
    if not has_user_frames(error.__traceback__) and not isinstance(error, SyntaxError):
        return ""
    report = tracebacks.TracebackException.from_exception(error, compact=True)
    pending = [report]
    while pending:
        part = pending.pop()
        part.stack[:] = [frame for frame in part.stack if not _is_machinery(frame.filename)]
        pending += [chained for chained in (part.__cause__, part.__context__) if chained is not None]
        pending += part.exceptions or []
    lines = list(report.format())
    if not report.stack and lines and lines[0].startswith("Traceback"):
        del lines[0]  # a heading without frames
    return "".join(lines).rstrip("\n")


def user_frames(stack: tracebacks.StackSummary) -> str:
    """What a thread is doing, most recent call last, without the frames of this server; "" if it has no other."""
    stack[:] = [frame for frame in stack if not _is_machinery(frame.filename)]
    return "".join(stack.format()).rstrip("\n")


def outcome(error: BaseException) -> str:
    """A traceback's last line, as one line; for SystemExit, what it means."""
    if isinstance(error, SystemExit):
        return "it called sys.exit()" if error.code is None else f"it called sys.exit({error.code!r})"
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its message cannot be shown)"
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[:MAX_MESSAGE_CHARS] + "…"
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


# --- the import ----------------------------------------------------------------------------------------
def import_failure(error: BaseException, name: str, attribute: str, directory: str) -> str:
    """Why the module `name` could not be imported: it is missing, or broken, or something it needs is."""
    running = has_user_frames(error.__traceback__)
    if isinstance(error, ModuleNotFoundError) and error.name:
        if not running and (name == error.name or name.startswith(error.name + ".")):
            return _missing_module(name, attribute, directory, error.name)
        if "." not in error.name:
            remedy = f"it is not installed for {sys.executable}; app.python (--python) chooses the interpreter"
            return f"cannot import {name}: no module named {error.name!r}: {remedy}"
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{_short(error.filename, directory)}, line {error.lineno}"
        return f"cannot import {name}: {where}: {type(error).__name__}: {error.msg}"
    return f"cannot import {name}: {outcome(error)}"


def held_elsewhere(error: BaseException | None, generation: int) -> str:
    """What to add if the import wanted what another process has, such as a port or a lock; else "".

    A reload boots the new generation beside the old one, and workers may import by themselves: what only one process
    can have is then had already.
    """
    if not any(_is_of_one_process(each) for each in _chain(error)):
        return ""
    if generation > 1:
        who = "the running generation, for a reload boots the new one beside it, or another worker"
    else:
        who = "another worker, if each imports by itself, or another program"
    remedy = "take it with the first request that needs it instead of at import, or in a program of its own"
    restart = "; a restart of the service, unlike a reload, lets go of it first" if generation > 1 else ""
    return f"; what it wants is held by another process, probably {who}: {remedy}{restart}"


def _is_of_one_process(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in BUSY:
        return True
    if isinstance(error, FileExistsError):
        return str(error.filename).endswith(LOCK_FILES)
    return not isinstance(error, MISTAKES) and HELD.search(outcome(error)) is not None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised for: libraries have lock errors of their own, and programs call sys.exit()."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _missing_module(name: str, attribute: str, directory: str, missing: str) -> str:
    """Why there is no such module. `missing` is the part of its name at which the import system stopped."""
    said = f"no module named {missing!r}" + ("" if missing == name else f" (for {name!r})")
    parent, _, last = missing.rpartition(".")
    if parent:
        return _missing_in_package(said, parent, last, attribute)
    places = f"in {directory} (app.directory, --chdir){_elsewhere(directory)}"
    candidates = _modules_in(directory)
    if near := nearest(last, candidates):
        rest = name[len(missing) :] + (f":{attribute}" if attribute else "")
        return f"{said} {places}: did you mean {near}{rest}?"
    if why := closed(directory):
        return f"{said} {places}; {why}"
    there = f"there are {_listed(candidates)}" if candidates else "there is no Python module"
    return f"{said} {places}; {there} in that directory"


def _elsewhere(directory: str) -> str:
    """Where the interpreter has searched beside app.directory and its own library."""
    library = os.path.dirname(os.__file__)
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    own = (directory, library, f"{library}/lib-dynload", f"{os.path.dirname(library)}/{archive}")
    places = [place for place in sys.path if place not in own]
    return f" nor in {_listed(places)}, where {sys.executable} looks" if places else f" nor by {sys.executable}"


def _missing_in_package(said: str, parent: str, last: str, attribute: str) -> str:
    package = sys.modules.get(parent)
    paths = list(getattr(package, "__path__", ()))
    if package is not None and not paths:  # "shop.wsgi.application": the last dot should be a colon
        where = getattr(package, "__file__", None) or "a built-in module"
        hint = f": did you mean {parent}:{last}?" if hasattr(package, last) else ""
        return f"{said}: {parent} ({where}) is a module, not a package{hint}"
    candidates = sorted({module for path in paths for module in _modules_in(path)})
    if near := nearest(last, candidates):
        return f"{said} in {paths[0]}: did you mean {parent}.{near}{':' + attribute if attribute else ''}?"
    if package is not None and hasattr(package, last):
        return f"{said}: did you mean {parent}:{last}?"
    if paths and (why := closed(paths[0])):
        return f"{said} in {paths[0]}; {why}"
    there = f"there are {_listed(candidates)}" if candidates else "there is no Python module"
    return f"{said} in {paths[0] if paths else parent}; {there}"


def _modules_in(directory: str) -> list[str]:
    """The names of the modules and packages that lie in a directory."""
    names = set()
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    for entry in entries:
        name = entry.name.removesuffix(".py")
        is_module = name != entry.name or _is_package(entry)
        if is_module and name.isidentifier() and not name.startswith("__"):
            names.add(name)
    return sorted(names)


def _is_package(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and any(name.endswith(".py") for name in os.listdir(entry.path))
    except OSError:
        return False


# --- the attribute -------------------------------------------------------------------------------------
def attribute_failure(
    error: BaseException, module: ModuleType, holder: Any, path: str, part: str, *, usual: Iterable[str]
) -> str:
    """Why `part` could not be had from `holder`, which `path` ("shop.wsgi:" or "shop.wsgi:api.") leads to."""
    if not isinstance(error, AttributeError) or has_user_frames(error.__traceback__):
        return f"{path}{part}: {outcome(error)}"
    names = [name for name in dir(holder) if not name.startswith("__")]
    if holder is not module:
        near = nearest(part, names)
        return f"{path.rstrip('.')} has no attribute {part!r}" + (f": did you mean {path}{near}?" if near else "")
    said = f"{_described(module)} has no attribute {part!r}"
    near = nearest(part, names)
    if not near and part in (*usual, "wsgi", "api"):
        near = next((name for name in usual if hasattr(module, name)), "")
    if part in _submodules(module):
        return f"{said}: did you mean the module {module.__name__}.{part}?"
    if near:
        return f"{said}: did you mean `{near}`?"
    there = _callables(module)
    return f"{said}: it has {_listed(there)}" if there else f"{said}, nor anything that can be called"


def no_default(module: ModuleType, names: tuple[str, ...], factories: tuple[str, ...]) -> str:
    """Why a module alone is not enough: it has none of the usual names."""
    said = f"{_described(module)} has none of {', '.join(f'`{name}`' for name in names)}"
    there = _callables(module)
    if there:
        factory = "--factory " if names == factories else ""
        return f"{said}; name what to serve, as in {factory}{module.__name__}:{there[0]} (it has {_listed(there)})"
    return f"{said}, nor anything that can be called"


def ambiguous(module: ModuleType, names: list[str]) -> str:
    """What to say of a file with several applications."""
    file = module.__file__
    both = " and ".join(f"`{name}`" for name in names)
    return f"{file} has {both}, which are not the same: name one, as in {file}:{names[-1]}"


def hidden(module: ModuleType, file: str) -> str:
    """Why the import of a file's module gave another one; "" if it did not."""
    imported = getattr(module, "__file__", None)
    try:
        if imported is not None and os.path.samefile(imported, file):
            return ""
    except OSError:
        pass
    name = module.__name__
    what = imported or next(iter(getattr(module, "__path__", ())), "built in")
    return f"{file} cannot be imported, for the name {name} is taken by another module ({what}): rename one of them"


def not_callable(module: ModuleType, attribute: str, target: str, found: Any, usual: tuple[str, ...]) -> str:
    """What the target is, if it cannot be called, and what could be meant."""
    if isinstance(found, ModuleType):
        name = next((name for name in usual if callable(getattr(found, name, None))), "")
        return f"{target} is a module, not a callable" + (f": did you mean {found.__name__}:{name}?" if name else "")
    others = [name for name in _callables(module) if name != attribute]
    hint = f"; {module.__name__} has these callables: {_listed(others)}" if others else ""
    return f"{target} is {kind(found)}, which is not callable{hint}"


def _described(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if file:
        return f"module {module.__name__} ({file})"
    paths = list(getattr(module, "__path__", ()))
    if paths and (why := closed(paths[0])):
        return f"module {module.__name__} ({paths[0]}; {why})"
    where = f" ({paths[0]}, a directory without __init__.py)" if paths else ""
    return f"module {module.__name__}{where}"


def _submodules(module: ModuleType) -> list[str]:
    return [name for path in getattr(module, "__path__", ()) for name in _modules_in(path)]


def _callables(module: ModuleType) -> list[str]:
    """What could be an application: a module's own functions, and instances; not what it imported."""
    names = []
    for name, value in vars(module).items():
        is_definition = isinstance(value, type) or hasattr(value, "__qualname__")
        is_own = not is_definition or getattr(value, "__module__", "") == module.__name__
        if not name.startswith("_") and is_own and callable(value):
            names.append(name)
    return names


# --- what was found ------------------------------------------------------------------------------------
def signature_mismatch(application: Any) -> str:
    """Why a callable cannot take (environ, start_response), after "it …"; "" if it can or does not tell."""
    call = type(application).__call__
    inspect = _explainer("inspect")
    if any(map(inspect.iscoroutinefunction, (application, call))) and not isinstance(application, type):
        return "is asynchronous (ASGI), and this server speaks WSGI"
    try:
        signature = inspect.signature(application, follow_wrapped=False)
    except (TypeError, ValueError):
        return ""
    if _accepts(signature, 2):
        if inspect.isfunction(application) and _are_optional(signature):
            return f"takes {signature}, all of it optional; if it makes the application, add --factory (app.factory)"
        return ""
    if _accepts(signature, 0):
        return "takes no arguments; if it makes the application, add --factory (app.factory)"
    if _accepts(signature, 3):
        return "takes three arguments, as ASGI applications do; WSGI's takes (environ, start_response)"
    return f"takes {signature}, not (environ, start_response)"


def factory_failure(
    error: BaseException, factory: Callable[..., Any], shown: str, target: Target, in_its_code: bool
) -> str:
    """Why the factory did not return: it raised, or it cannot be called like that."""
    if isinstance(error, TypeError) and not in_its_code:
        inspect = _explainer("inspect")
        try:
            signature = inspect.signature(factory, follow_wrapped=False)
        except (TypeError, ValueError):
            return f"{shown}() failed: {outcome(error)}"
        if target.arguments or target.keywords:
            return f"{shown} takes {signature}, and cannot be called as it is written: {error}"
        if _accepts(signature, 2) and APPLICATIONS_ARGUMENTS & signature.parameters.keys():
            return f"{shown} takes {signature}: it looks like the application itself; leave out --factory"
        return f"{shown} takes {signature}; write its arguments, as in --factory '{shown}(\"x\", debug=False)'"
    return f"{shown}() failed: {outcome(error)}"


def callable_arguments(function: Any, most: int) -> int:
    """How many of `most` positional arguments a callable takes; -1: it cannot be called with any number of them."""
    try:
        signature = _explainer("inspect").signature(function)
    except (TypeError, ValueError):
        return most  # it does not tell
    return next((number for number in range(most, -1, -1) if _accepts(signature, number)), -1)


def _accepts(signature: Any, arguments: int) -> bool:
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _are_optional(signature: Any) -> bool:
    """Whether all of its parameters have defaults, as a factory's may, and none is named as an application's are."""
    found = signature.parameters
    return not APPLICATIONS_ARGUMENTS & found.keys() and all(one.default is not one.empty for one in found.values())


def _explainer(name: str) -> Any:
    """A module of the standard library that only failures need: one that is imported now would be in every worker."""
    return importlib.import_module(name)


def kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


# --- words ---------------------------------------------------------------------------------------------
def nearest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """The closest of the candidates, whatever the case; or "". `cutoff`: how alike, from 0.0 to 1.0."""
    lower = {candidate.lower(): candidate for candidate in candidates}
    found = _explainer("difflib").get_close_matches(word.lower(), lower, 1, cutoff)
    return lower[found[0]] if found else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")


def _short(path: str, directory: str) -> str:
    """A path as the user knows it: relative to app.directory if it is inside."""
    inside = path.startswith(directory.rstrip("/") + "/")
    return os.path.relpath(path, directory) if inside else path
