"""The hooks of an application: what is found in its module, what is refused at boot, and in which words."""

from __future__ import annotations

import functools
import os
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker.application import BootError
from miniwsgi.daemon.worker.hook_calls import HookCaller, TimeLimit
from miniwsgi.daemon.worker.hooks import Hook, Hooks, find_hooks

MODULE = "shop_hooks"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where the hooks lie, as app.directory is at the import."""
    before = os.getcwd()
    os.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.path_importer_cache.clear()
    sys.modules.pop(MODULE, None)
    os.chdir(before)


def found(directory: Path, source: str, name: str = MODULE) -> Hooks:
    (directory / f"{MODULE}.py").write_text(textwrap.dedent(source), "utf-8")
    return find_hooks(
        Settings(generation=1, listeners=(), scoreboard_fd=-1, module="", directory=str(directory), hooks=name)
    )


def test_each_hook_is_optional(directory: Path) -> None:
    hooks = found(directory, "def loaded(app): app.append(1)\ndef helper(): pass\nworkers = 3")
    assert [hook for hook in Hook if hook in hooks] == [Hook.LOADED]
    said: list[int] = []
    hooks.call(Hook.LOADED, said)
    assert said == [1]
    assert not hooks.leads


def test_no_module_has_no_hooks(directory: Path) -> None:
    assert [hook for hook in Hook if hook in found(directory, "", "")] == []


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("def worker_stop(): seen.append(())", ()),
        ("def worker_stop(worker): seen.append((worker,))", ("W",)),
        ("def worker_stop(worker, reason): seen.append((worker, reason))", ("W", "reload")),
        ("def worker_stop(worker, reason, later=None): seen.append((worker, reason))", ("W", "reload")),
        ("def worker_stop(*given): seen.append(given)", ("W", "reload")),
        ("class Stop:\n    def __call__(self, worker): seen.append((worker,))\nworker_stop = Stop()", ("W",)),
        ("import functools\nworker_stop = functools.partial(lambda *given: seen.append(given), 1)", (1, "W", "reload")),
        (
            "import functools\ndef plain(): seen.append(())\n@functools.wraps(plain)\n"
            "def worker_stop(*given, **named): plain(*given)",
            (),
        ),
    ],
)
def test_a_function_is_given_as_much_as_it_takes(directory: Path, source: str, given: tuple[str, ...]) -> None:
    hooks = found(directory, f"seen = []\n{source}\n")
    hooks.call(Hook.WORKER_STOP, "W", "reload")
    assert sys.modules[MODULE].seen == [given]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def worker_strat(worker): pass", "has a function worker_strat, which is no hook: did you mean worker_start?"),
        ("def worker_exit(worker): pass", "has a function worker_exit, which is no hook: did you mean worker_"),
        ("def leader_begin(): pass", "has a function leader_begin, which is no hook: did you mean leader_"),
        ("def loadet(app): pass", "has a function loadet, which is no hook: did you mean loaded?"),
        ("worker_start = 3", "shop_hooks.worker_start is of type int, which is not callable"),
        ("loaded = None", "shop_hooks.loaded is None, which is not callable"),
        ("async def loaded(app): pass", "shop_hooks.loaded is an async function"),
        ("def loaded(app): yield", "shop_hooks.loaded is a generator"),
        ("def loaded(app, more): pass", "shop_hooks.loaded cannot be called with (app)"),
        ("def worker_start(worker, *, pool): pass", "shop_hooks.worker_start cannot be called with (worker)"),
        ("def worker_stop(reason): pass", "takes reason first; it is called with (worker, reason)"),
        ("x = 1", "shop_hooks has none of the hooks: loaded, worker_start, worker_ready"),
        ("import nothing_of_that_name", "cannot import shop_hooks: no module named 'nothing_of_that_name'"),
        ("1 / 0", "cannot import shop_hooks: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_meant_fails_the_boot(directory: Path, source: str, problem: str) -> None:
    with pytest.raises(BootError) as caught:
        found(directory, source)
    assert caught.value.code in {Code.HOOKS_WRONG, Code.NO_MODULE, Code.IMPORT_RAISED}
    assert caught.value.error.startswith("app.hooks: ")
    assert problem in caught.value.error
    assert "\n" not in caught.value.error


def test_a_module_that_is_not_there_is_told_with_what_comes_near(directory: Path) -> None:
    with pytest.raises(BootError, match=r"no module named 'shop_hoks'.*did you mean shop_hooks"):
        found(directory, "", "shop_hoks")


# --- calls -----------------------------------------------------------------------------------------------


class Said:
    """A log."""

    def __init__(self, lines: list[object]) -> None:
        self.info = lines.append
        self._lines = lines

    def warning(self, code: Code, message: str) -> None:
        self._lines.append(message)

    error = warning


def caller(said: list[object], seconds: float = 60.0, **functions: object) -> HookCaller:
    hooks = Hooks("shop.hooks", {Hook(name): (function, 1) for name, function in functions.items()})  # type: ignore[misc]
    return HookCaller(hooks, seconds, Said(said), lambda kind, **fields: said.append(fields))


def test_a_hook_is_told_while_it_runs_and_logged_with_its_duration() -> None:
    said: list[object] = []
    caller(said, worker_start=said.append).run(Hook.WORKER_START, "the worker")
    begins, inside, logged, over = said
    assert (begins, over) == ({"name": "worker_start", "runs": True}, {"name": "worker_start", "runs": False})
    assert inside == "the worker"
    assert str(logged).startswith("hook worker_start of shop.hooks returned after 0.0")


async def nobody_awaits(_worker: object) -> None:
    pytest.fail("nobody does")


def nobody_iterates(_worker: object) -> Iterator[None]:
    yield pytest.fail("nobody does")


@pytest.mark.parametrize("function", [functools.partial(nobody_awaits), nobody_iterates])
def test_a_hook_that_is_asynchronous_behind_something_else_fails_when_it_is_called(function: object) -> None:
    with pytest.raises(BootError, match=r"failed: TypeError: it returned .*, whose body nobody runs"):
        caller([], worker_start=function).boot(Hook.WORKER_START, pytest.fail, None)


def test_another_application_that_loaded_returns_is_ignored_and_that_is_said() -> None:
    said: list[object] = []
    caller(said, loaded=lambda app: app).run(Hook.LOADED, nobody_iterates)
    assert not [text for text in said if "ignored" in str(text)]
    caller(said, loaded=lambda app: lambda environ, start_response: app(environ)).run(Hook.LOADED, nobody_iterates)
    (warning,) = [text for text in said if "ignored" in str(text)]
    assert str(warning).startswith("app.hooks: loaded of shop.hooks returned another application, which is ignored")


@pytest.mark.parametrize("error", [RuntimeError("no database"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_hook_raises_fails_the_boot_with_its_traceback(error: BaseException) -> None:
    def worker_start(_worker: object) -> None:
        raise error

    with pytest.raises(BootError) as caught:
        caller([], worker_start=worker_start).boot(Hook.WORKER_START, pytest.fail, None)
    assert caught.value.error.startswith("app.hooks: worker_start of shop.hooks failed: ")
    assert "in worker_start" in caught.value.traceback


def test_a_hook_that_is_late_is_told_with_what_it_does_and_its_watcher_goes_with_it() -> None:
    told: list[BootError] = []
    gate = threading.Event()

    def fail(error: BootError) -> None:
        told.append(error)
        gate.set()

    caller([], 0.05, worker_start=lambda _worker: gate.wait(60)).boot(Hook.WORKER_START, fail, None)  # type: ignore[arg-type]
    (late,) = told
    assert "worker_start of shop.hooks has not returned after 0.05 s (timeouts.hook)" in late.error
    assert "gate.wait(60)" in late.traceback
    assert "in <lambda>" in late.traceback.splitlines()[0]  # not who runs the tests
    tasks = len(os.listdir("/proc/self/task"))
    with TimeLimit(60, lambda _stack: None):
        assert len(os.listdir("/proc/self/task")) == tasks + 1
    assert len(os.listdir("/proc/self/task")) == tasks  # at once: the launcher forks next
