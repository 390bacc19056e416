"""Hooks: the application's own functions that are called as a worker comes and goes (`app.hooks`, docs/hooks.md).

`boot_hooks` imports the module that names them, beside the application, and looks at each: what cannot be called as it
will be is told at boot, not at three in the morning. Who calls them, where and for how long is in `hook_calls`.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from miniwsgi.codes import Code

from ..target import Target
from .application import BootError, import_module
from .application_hints import callable_arguments, kind, nearest

if TYPE_CHECKING:
    from ..settings import Settings

_PREFIXES = ("worker_", "leader_")
_NEAR = 0.8  # of difflib: "worker_strat", "loadet"
_ASYNCHRONOUS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR
_GENERATOR = 0x20  # CO_GENERATOR
_VARIADIC = 0x04  # CO_VARARGS


class Hook(Enum):
    """The hooks that there are, by the names of their functions, in the order in which a worker comes to them."""

    LOADED = "loaded"
    WORKER_START = "worker_start"
    WORKER_READY = "worker_ready"
    LEADER_START = "leader_start"
    WORKER_DRAIN = "worker_drain"
    LEADER_STOP = "leader_stop"
    WORKER_STOP = "worker_stop"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What its function is given; it may take fewer, from the left."""
        return _ARGUMENTS.get(self, ("worker",))


_ARGUMENTS = {Hook.LOADED: ("app",), Hook.WORKER_STOP: ("worker", "reason")}
_NAMES = [hook.value for hook in Hook]


class HookedWorker(NamedTuple):
    """What hooks are told of the worker that calls them."""

    slot: int  # of the scoreboard: 0 and up, the lowest free one; another worker's when this one is gone
    pid: int
    generation: int  # of code and configuration: one more with each reload
    pool: str  # "epoll", "prefork", "fork" or "single"
    threads: int  # that may run the application at the same time
    revision: str | None = None  # of the code that it has imported, as `miniwsgictl status` shows it; None: unknown


class Hooks:
    """The functions of one module, by hook. `in`: whether there is one for a hook."""

    def __init__(self, module: str, functions: Mapping[Hook, tuple[Callable[..., Any], int]]) -> None:
        self.module = module
        self._functions = functions

    def __repr__(self) -> str:
        return f"<Hooks {self.module} {[hook.value for hook in self._functions]}>"

    def __contains__(self, hook: Hook) -> bool:
        return hook in self._functions

    @property
    def leads(self) -> bool:
        """Whether there is anything for a leader to do."""
        return Hook.LEADER_START in self or Hook.LEADER_STOP in self

    def call(self, hook: Hook, *arguments: Any) -> str:
        """Raises what the function raises, and TypeError if it was asynchronous after all: behind functools.partial, a
        decorator, a method. What it returns is nobody's: what is wrong with that, "" for nothing.
        """
        function, taken = self._functions[hook]
        returned = function(*arguments[:taken])
        if isinstance(returned, (CoroutineType, GeneratorType, AsyncGeneratorType)):
            if not isinstance(returned, AsyncGeneratorType):
                returned.close()  # or Python warns that nobody awaited it
            raise TypeError(f"it returned {kind(returned)}, whose body nobody runs; a hook is a plain function")
        if hook is Hook.LOADED and callable(returned) and returned is not arguments[0]:
            return "returned another application, which is ignored: what is served is what app.module names"
        return ""


NO_HOOKS = Hooks("", {})


class _Wrong(BootError):
    def __init__(self, error: str) -> None:
        super().__init__(Code.HOOKS_WRONG, error)


def find_hooks(settings: Settings) -> Hooks:
    """Import the module that settings.hooks names, "" for none. The current directory is app.directory.

    Raises BootError, and nothing else.
    """
    name = settings.hooks
    if not name:
        return NO_HOOKS
    try:
        module = import_module(Target(name), settings)
    except BootError as error:
        raise BootError(error.code, f"app.hooks: {error.error}", error.traceback) from None
    found = {hook: _checked(module, hook) for hook in Hook if hasattr(module, hook.value)}
    for other in _own_functions(module):
        if meant := _meant(other):
            problem = f"{name} has a function {other}, which is no hook: did you mean {meant}?"
            raise _Wrong(f"app.hooks: {problem} (the name of one that is none can begin with _)")
    if not found:
        raise _Wrong(f"app.hooks: {name} has none of the hooks: {', '.join(_NAMES)}")
    return Hooks(name, found)


def _checked(module: ModuleType, hook: Hook) -> tuple[Callable[..., Any], int]:
    """The hook's function, and how many arguments it takes. Raises BootError."""
    function: Any = getattr(module, hook.value)
    shown = f"app.hooks: {module.__name__}.{hook.value}"
    if not callable(function):
        raise _Wrong(f"{shown} is {kind(function)}, which is not callable")
    flags = function.__code__.co_flags if isinstance(function, FunctionType) else 0
    if flags & _ASYNCHRONOUS:
        raise _Wrong(f"{shown} is an async function, which nobody would await; a hook is a plain one")
    if flags & _GENERATOR:
        raise _Wrong(f"{shown} is a generator, whose body would never run; a hook is a plain function")
    taken = _taken(function, len(hook.arguments))
    if taken < 0:
        raise _Wrong(f"{shown} cannot be called with ({', '.join(hook.arguments)})")
    if taken and (first := _first_parameter(function)) in hook.arguments[1:]:
        raise _Wrong(f"{shown} takes {first} first; it is called with ({', '.join(hook.arguments)})")
    return function, taken


def _taken(function: Any, most: int) -> int:
    """How many of `most` positional arguments it takes; -1: it needs others."""
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        required = code.co_argcount - len(function.__defaults__ or ())
        keywords = code.co_kwonlyargcount - len(function.__kwdefaults__ or ())
        taken = most if code.co_flags & _VARIADIC else min(most, code.co_argcount)
        return -1 if required > most or keywords else taken
    return callable_arguments(function, most)


def _first_parameter(function: Any) -> str:
    """Its name, if it is a plain function's."""
    return function.__code__.co_varnames[0] if isinstance(function, FunctionType) else ""


def _own_functions(module: ModuleType) -> list[str]:
    """Public functions that it has not from elsewhere."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


def _meant(name: str) -> str:
    """The hook that this function could be meant for, if it is none itself; "" if it is something else."""
    if name in _NAMES:
        return ""
    return nearest(name, _NAMES, 0.0 if name.startswith(_PREFIXES) else _NEAR)
