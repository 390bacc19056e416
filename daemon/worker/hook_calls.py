"""Calling a hook: for how long at most, on a thread of its own if it runs beside requests, and what is told of it.

What is late before a worker is ready fails the boot, with what the main thread was doing; what is late beside requests
is told, and harms nobody. Standard library only.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from miniwsgi.codes import Code

from ..engine.after_fork import process
from ..settings import Settings
from ..unpatched import Lock, get_ident, get_native_id, os, start_thread, time
from .application import Application, BootError
from .application_hints import outcome, user_frames, user_traceback
from .hooks import Hook, Hooks, find_hooks

TIME_KEY = "timeouts.hook"
GONE_SECONDS = 1.0  # for a thread that has nothing more to do
LOOK_SECONDS = 0.05

Tell = Callable[..., None]  # a message to the master: its kind, its fields
Fail = Callable[[BootError], NoReturn]  # the boot has failed while the main thread is inside a hook


class Log(Protocol):
    """The error log of this process, or the master's."""

    def info(self, message: str, /) -> None: ...
    def warning(self, code: Code, message: str, /) -> None: ...
    def error(self, code: Code, message: str, /) -> None: ...


class HookCaller:
    """Calls the hooks of one process. `tell` takes messages to whoever shows what runs."""

    def __init__(self, hooks: Hooks, seconds: float, log: Log, tell: Tell) -> None:
        self.hooks = hooks
        self.seconds = seconds
        self.log = log
        self._tell = tell

    def __repr__(self) -> str:
        return f"<HookCaller {self.hooks}>"

    def run(self, hook: Hook, *arguments: Any) -> BaseException | None:
        """Call it, if there is such a hook; what it raises is returned, and no error of ours.

        A process that was forked meanwhile, and comes back, ends here.
        """
        if hook not in self.hooks:
            return None
        self._tell("hook", name=hook.value, runs=True)
        began = time.monotonic()
        error: BaseException | None = None
        problem = ""
        try:
            problem = self.hooks.call(hook, *arguments)
        except BaseException as raised:
            error = raised
        if process.forked:
            process.end(error)
        seconds = time.monotonic() - began
        how = "returned" if error is None else "failed"
        self.log.info(f"hook {hook.value} of {self.hooks.module} {how} after {seconds:.3f} s")
        if problem:
            self.log.warning(Code.HOOK_RETURNED, f"app.hooks: {hook.value} of {self.hooks.module} {problem}")
        self._tell("hook", name=hook.value, runs=False)
        return error

    def boot(self, hook: Hook, fail: Fail, *arguments: Any) -> None:
        """The same, in time, before anything is ready: raises BootError, or has `fail` end the process."""
        if hook not in self.hooks:
            return
        with TimeLimit(self.seconds, lambda stack: fail(BootError(Code.HOOK_LATE, self.late(hook), stack))):
            error = self.run(hook, *arguments)
        if error is not None:
            raise BootError(Code.HOOK_FAILED, self.failure(hook, error), user_traceback(error)) from None

    def failure(self, hook: Hook, error: BaseException) -> str:
        """In one line."""
        return f"app.hooks: {hook.value} of {self.hooks.module} failed: {outcome(error)}"

    def complain(self, hook: Hook, error: BaseException | None) -> None:
        """In the log, of what fails nothing."""
        if error is not None:
            self.log.error(Code.HOOK_FAILED, f"{self.failure(hook, error)}\n{user_traceback(error)}".rstrip())

    def late(self, hook: Hook) -> str:
        """In one line, that a hook has not returned in its time."""
        return f"app.hooks: {hook.value} of {self.hooks.module} has not returned after {self.seconds:g} s ({TIME_KEY})"


class TimeLimit:
    """A context: `late` is called once, by another thread, if this one is inside for longer than `seconds`.

    It gets what the thread is doing. When the context has ended, so has that other thread: the launcher forks next.
    """

    def __init__(self, seconds: float, late: Callable[[str], object]) -> None:
        self._seconds = seconds
        self._late = late
        self._over = Lock()
        self._over.acquire()
        self._watched = get_ident()
        self._native_id = 0

    def __enter__(self) -> None:
        self._join = start_thread(self._watch, "mw-hook-limit")

    def __exit__(self, *_error: object) -> None:
        self._over.release()
        self._join(GONE_SECONDS)
        deadline = time.monotonic() + GONE_SECONDS
        while os.path.exists(f"/proc/self/task/{self._native_id}") and time.monotonic() < deadline:
            time.sleep(0.0005)  # what has been joined may not have left the kernel yet

    def _watch(self) -> None:
        self._native_id = get_native_id()
        if not self._over.acquire(timeout=self._seconds):
            self._late(stack_of(self._watched))


def stack_of(thread: int) -> str:
    """What a thread of this process is doing inside a hook, as a traceback; "" if it has ended."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    ours = Hooks.call.__code__.co_filename
    begins = next((at for at in range(len(stack), 0, -1) if stack[at - 1].filename == ours), 0)
    stack[:] = stack[begins:]  # whoever has started the thread, or this process, explains nothing
    return user_frames(stack)


def load_hooks(settings: Settings, application: Application, log: Log, tell: Tell, fail: Fail) -> Hooks:
    """To be called wherever the application has just been imported: find the hooks, and call `loaded`.

    Raises BootError.
    """
    hooks = find_hooks(settings)
    HookCaller(hooks, settings.hook_timeout, log, tell).boot(Hook.LOADED, fail, application)
    return hooks


class BesideRequests:
    """A hook on a thread of its own, when the one before it has ended or is late."""

    def __init__(
        self, caller: HookCaller, hook: Hook, arguments: tuple[Any, ...], before: BesideRequests | None
    ) -> None:
        self._caller = caller
        self._hook = hook
        self._arguments = arguments
        self._before = before
        self._over = False  # it has ended, or is late
        try:
            start_thread(self._run, "mw-hook", runs_application=True)
        except RuntimeError as error:
            self._over = True
            caller.complain(hook, error)

    def wait(self) -> None:
        """Until it has ended, or is late."""
        while not self._over:
            time.sleep(LOOK_SECONDS)

    def _run(self) -> None:
        if self._before is not None:
            self._before.wait()
            self._before = None
        caller, hook = self._caller, self._hook
        with TimeLimit(caller.seconds, self._late):
            error = caller.run(hook, *self._arguments)
        caller.complain(hook, error)
        self._over = True

    def _late(self, stack: str) -> None:
        told = f"{self._caller.late(self._hook)}; it goes on beside the requests\n{stack}".rstrip()
        self._caller.log.error(Code.HOOK_LATE, told)
        self._over = True
