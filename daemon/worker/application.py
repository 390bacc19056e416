"""The application: importing it, and saying well why that did not work.

`load` runs where the application lives: in the launcher if it is preloaded, else in each worker, or in the
process of pool single. It makes app.directory the current directory and puts it first on sys.path. What goes
wrong becomes a `BootError`: one line that names module, attribute and remedy, and the application's own
traceback. Standard library only; the words are in application_hints.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ..engine.after_fork import process
from ..permission import why_not
from ..unpatched import is_patched, os
from .application_hints import (
    PATH_DROPPED,
    attribute_failure,
    factory_failure,
    held_elsewhere,
    import_failure,
    kind,
    no_default,
    not_callable,
    signature_mismatch,
    user_traceback,
)

if TYPE_CHECKING:
    from ..settings import Settings

Application = Callable[..., Any]

PLAIN_NAMES = ("application", "app")  # what a MODULE without :CALLABLE is searched for, in this order
FACTORY_NAMES = ("create_app", "make_app")
PATCHED_TOO_EARLY = (
    "the standard library was monkey-patched (gevent.monkey, eventlet) before the server was imported, as by a "
    "sitecustomize or a .pth file: call patch_all() at the top of the application's module instead"
)
_ASYNCHRONOUS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR: `inspect` names them


class BootError(Exception):
    """The application did not boot."""

    def __init__(self, phase: str, error: str, traceback: str = "") -> None:
        super().__init__(error)
        self.phase = phase  # "import" | "factory" | "boot-check"
        self.error = error  # one line
        self.traceback = traceback  # the application's frames; "" if none of its code was running


def load(settings: Settings) -> Application:
    """Import what settings.module names and return the WSGI callable. Raises BootError, and nothing else.

    A process that was forked meanwhile, and comes back, ends here.
    """
    if is_patched():
        raise BootError("import", PATCHED_TOO_EARLY)
    gc.freeze()  # what is ours is none of a collector's business, nor of eventlet's, which looks for locks with it
    try:
        os.chdir(settings.directory)
    except OSError as error:
        message = f"app.directory {settings.directory} cannot be entered: {why_not(settings.directory, error)}"
        raise BootError("import", message) from None
    if sys.path[:1] != [settings.directory]:
        sys.path.insert(0, settings.directory)
    try:
        application = _import_target(settings)
    except BootError as error:
        if process.forked:
            process.end(error.__context__)
        error.error += held_elsewhere(error.__context__, settings.generation)
        raise
    if process.forked:
        process.end()
    return application


def _import_target(settings: Settings) -> Application:
    name, attribute = split_target(settings.module, settings.factory)
    module = import_module(name, attribute, settings)
    found, attribute = find(module, attribute, FACTORY_NAMES if settings.factory else PLAIN_NAMES)
    target = f"{name}:{attribute}"
    if not callable(found):
        raise BootError("import", not_callable(module, attribute, target, found, PLAIN_NAMES))
    if settings.factory:
        return make(found, target)
    if why := unfit(found):
        raise BootError("import", f"{target} is no WSGI application: it {why}")
    return found  # type: ignore[no-any-return]


def split_target(target: str, factory: bool = False) -> tuple[str, str]:
    """The module and the attribute ("" if none is named) of "package.module:attribute". Raises BootError.

    The current directory is app.directory: a path that lies in it is answered with the dotted name to write.
    """
    name, colon, attribute = target.strip().partition(":")
    if "/" in name or (name.endswith(".py") and os.path.isfile(name)):
        raise BootError("import", _path_instead_of_name(name, attribute))
    if "(" in attribute:
        maker = f"{name}:{attribute.partition('(')[0]}"
        remedy = f"write {maker}" if factory else f"name the factory: --factory {maker} (app.factory)"
        raise BootError("import", f"{target} is a call, and only names are accepted; {remedy}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise BootError("import", f"{name!r} is not the name of a Python module; write package.module:attribute")
    if colon and not all(part.isidentifier() for part in attribute.split(".")):
        raise BootError("import", f"{attribute!r} is not the name of a Python attribute; write {name}:app or such")
    return name, attribute


def _path_instead_of_name(path: str, attribute: str) -> str:
    inside = os.path.relpath(path) if os.path.isabs(path) else os.path.normpath(path)
    dotted = inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    said = f"{path} is a path, and a module's dotted name is needed"
    if dotted.startswith("."):
        directory, file = os.path.split(os.path.abspath(path))
        dotted = file.removesuffix(".py")
        remedy = f"write {dotted}{':' + attribute if attribute else ''} with --chdir {directory} (app.directory)"
    else:
        remedy = f"write {dotted}{':' + attribute if attribute else ''}"
    return f"{said}: {remedy}"


def import_module(name: str, attribute: str, settings: Settings) -> ModuleType:
    """Import it. Whatever the application's code raises, SystemExit included, becomes a BootError."""
    try:
        return importlib.import_module(name)
    except BaseException as error:
        message = import_failure(error, name, attribute, settings.directory)
        if settings.python_path_dropped and isinstance(error, ModuleNotFoundError):
            message += f"; {PATH_DROPPED}"
        raise BootError("import", message, user_traceback(error)) from None


def find(module: ModuleType, attribute: str, defaults: tuple[str, ...]) -> tuple[Any, str]:
    """The object that `attribute` (dotted) names in the module, or the first of the default names there."""
    if not attribute:
        for default in defaults:
            if hasattr(module, default):
                return getattr(module, default), default
        raise BootError("import", no_default(module, defaults, FACTORY_NAMES))
    found: Any = module
    path = f"{module.__name__}:"
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except BaseException as error:
            usual = PLAIN_NAMES + FACTORY_NAMES
            message = attribute_failure(error, module, found, path, part, usual=usual)
            raise BootError("import", message, user_traceback(error)) from None
        path += f"{part}."
    return found, attribute


def make(factory: Callable[[], Any], target: str) -> Application:
    """Call the factory. Raises BootError with phase "factory"."""
    try:
        made = factory()
    except BaseException as error:
        text = user_traceback(error)
        raise BootError("factory", factory_failure(error, factory, target, bool(text)), text) from None
    if callable(made):
        if why := unfit(made):
            raise BootError("factory", f"what {target}() returned is no WSGI application: it {why}")
        return made  # type: ignore[no-any-return]
    if hasattr(made, "cr_frame"):
        made.close()  # a coroutine that nobody will await
        raise BootError("factory", f"{target} is an async function; a factory must be a plain one")
    hint = ": does it end with `return app`?" if made is None else ""
    raise BootError("factory", f"{target}() returned {kind(made)}, which is not callable{hint}")


def unfit(application: Any) -> str:
    """Why a callable cannot be an application (PEP 3333: two positional arguments); "" if it may be one."""
    function: Any = application
    own = 0  # arguments that are not the caller's to give: self
    if not isinstance(application, type | FunctionType):
        function, own = type(application).__call__, 1
    if isinstance(function, FunctionType) and not hasattr(function, "__signature__"):
        code = function.__code__
        if code.co_argcount == own + 2 and not code.co_kwonlyargcount and not code.co_flags & _ASYNCHRONOUS:
            return ""  # the usual cases: a function, and an object with a __call__
    return signature_mismatch(application)
