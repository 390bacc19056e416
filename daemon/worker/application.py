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

from miniwsgi.codes import Code

from ..engine.after_fork import process
from ..permission import why_not
from ..target import Target, TargetError
from ..unpatched import is_patched, os
from .application_hints import (
    PATH_DROPPED,
    ambiguous,
    attribute_failure,
    factory_failure,
    held_elsewhere,
    hidden,
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

PLAIN_NAMES = ("application", "app", "wsgi")  # what a MODULE without :CALLABLE is searched for, in this order
FACTORY_NAMES = ("create_app", "make_app")  # and then for these, which are called
PATCHED_TOO_EARLY = (
    "the standard library was monkey-patched (gevent.monkey, eventlet) before the server was imported, as by a "
    "sitecustomize or a .pth file: call patch_all() at the top of the application's module instead"
)
_ASYNCHRONOUS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR: `inspect` names them


class BootError(Exception):
    """The application did not boot."""

    def __init__(self, code: Code, error: str, traceback: str = "") -> None:
        super().__init__(error)
        self.code = code
        self.error = error  # one line
        self.traceback = traceback  # the application's frames; "" if none of its code was running

    @property
    def shown(self) -> str:
        """For a log, with the traceback."""
        return f"{self.error}\n{self.traceback}".rstrip()

    @property
    def message(self) -> dict[str, Any]:
        """For the master: the fields of `failed`."""
        return {"code": self.code.value, "error": self.error, "traceback": self.traceback}


def load(settings: Settings, tell: Callable[[str], None] = lambda _message: None) -> Application:
    """Import what settings.module names and return the WSGI callable. Raises BootError, and nothing else.

    `tell` is told what was taken if that had to be searched for. A process that was forked meanwhile, and comes back,
    ends here.
    """
    if is_patched():
        raise BootError(Code.PATCHED_EARLY, PATCHED_TOO_EARLY)
    gc.freeze()  # what is ours is none of a collector's business, nor of eventlet's, which looks for locks with it
    try:
        os.chdir(settings.directory)
    except OSError as error:
        message = f"app.directory {settings.directory} cannot be entered: {why_not(settings.directory, error)}"
        raise BootError(Code.DIRECTORY_UNUSABLE, message) from None
    if sys.path[:1] != [settings.directory]:
        sys.path.insert(0, settings.directory)
    try:
        application = _import_target(settings, tell)
    except BootError as error:
        if process.forked:
            process.end(error.__context__)
        error.error += held_elsewhere(error.__context__, settings.generation)
        raise
    if process.forked:
        process.end()
    return application


def _import_target(settings: Settings, tell: Callable[[str], None]) -> Application:
    try:
        target = Target.parse(settings.module)
    except TargetError as error:
        raise BootError(Code.NO_APPLICATION, str(error)) from None
    if target.root and sys.path[:1] != [target.root]:
        sys.path.insert(0, target.root)
    module = import_module(target, settings)
    is_factory = settings.factory or target.is_call
    if target.attribute:
        found, attribute = find(module, target.attribute), target.attribute
    else:
        found, attribute = search(module, settings.factory, is_file=bool(target.file))
        is_factory |= attribute in FACTORY_NAMES
        tell(f"{settings.module}: serves {f'what {attribute}() returns' if is_factory else f'`{attribute}`'}")
    shown = f"{target.module}:{attribute}"
    if not callable(found):
        raise BootError(Code.NO_APPLICATION, not_callable(module, attribute, shown, found, PLAIN_NAMES))
    if is_factory:
        return make(found, shown, target)
    if why := unfit(found):
        raise BootError(Code.NO_APPLICATION, f"{shown} is no WSGI application: it {why}")
    return found  # type: ignore[no-any-return]


def import_module(target: Target, settings: Settings) -> ModuleType:
    """Import it. Whatever the application's code raises, SystemExit included, becomes a BootError."""
    try:
        module = importlib.import_module(target.module)
    except BaseException as error:
        message = import_failure(error, target.module, target.attribute, settings.directory)
        if settings.python_path_dropped and isinstance(error, ModuleNotFoundError):
            message += f"; {PATH_DROPPED}"
        code = Code.NO_MODULE if isinstance(error, ModuleNotFoundError) else Code.IMPORT_RAISED
        raise BootError(code, message, user_traceback(error)) from None
    if target.file and (why := hidden(module, target.file)):
        raise BootError(Code.NO_MODULE, why)
    return module


def find(module: ModuleType, attribute: str) -> Any:
    """The object that `attribute` (dotted) names in the module."""
    found: Any = module
    path = f"{module.__name__}:"
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except BaseException as error:
            usual = PLAIN_NAMES + FACTORY_NAMES
            message = attribute_failure(error, module, found, path, part, usual=usual)
            raise BootError(Code.NO_APPLICATION, message, user_traceback(error)) from None
        path += f"{part}."
    return found


def search(module: ModuleType, only_factories: bool, *, is_file: bool) -> tuple[Any, str]:
    """What has one of the usual names, and that name. A file may not leave open which application is meant."""
    names = FACTORY_NAMES if only_factories else PLAIN_NAMES + FACTORY_NAMES
    there = {name: getattr(module, name) for name in names if hasattr(module, name)}
    usable = {name: value for name, value in there.items() if callable(value)} or there
    if not usable:
        raise BootError(Code.NO_APPLICATION, no_default(module, names, FACTORY_NAMES))
    applications = {name: value for name, value in usable.items() if name in PLAIN_NAMES}
    if is_file and len({id(value) for value in applications.values()}) > 1:
        raise BootError(Code.NO_APPLICATION, ambiguous(module, list(applications)))
    name = next(iter(usable))
    return usable[name], name


def make(factory: Callable[..., Any], shown: str, target: Target) -> Application:
    """Call the factory. Raises BootError."""
    try:
        made = factory(*target.arguments, **dict(target.keywords))
    except BaseException as error:
        text = user_traceback(error)
        raise BootError(Code.FACTORY_FAILED, factory_failure(error, factory, shown, target, bool(text)), text) from None
    if callable(made):
        if why := unfit(made):
            raise BootError(Code.NO_APPLICATION, f"what {shown}() returned is no WSGI application: it {why}")
        return made  # type: ignore[no-any-return]
    if hasattr(made, "cr_frame"):
        made.close()  # a coroutine that nobody will await
        raise BootError(Code.FACTORY_FAILED, f"{shown} is an async function; a factory must be a plain one")
    hint = ": does it end with `return app`?" if made is None else ""
    raise BootError(Code.FACTORY_FAILED, f"{shown}() returned {kind(made)}, which is not callable{hint}")


def unfit(application: Any) -> str:
    """Why a callable cannot be an application (PEP 3333: two positional arguments); "" if it may be one."""
    function: Any = application
    own = 0  # arguments that are not the caller's to give: self
    if not isinstance(application, type | FunctionType):
        function, own = type(application).__call__, 1
    if isinstance(function, FunctionType) and not hasattr(function, "__signature__"):
        code = function.__code__
        two = code.co_argcount == own + 2 and not code.co_kwonlyargcount and not function.__defaults__
        if two and not code.co_flags & _ASYNCHRONOUS:
            return ""  # the usual cases: a function, and an object with a __call__
    return signature_mismatch(application)
