"""The application is found, or what is said about it helps."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import socket
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.worker.application import BootError, load, unfit

from .application_world import APP, Write, failure, restored, settings, write

__all__ = ["restored", "write"]


# --- what is found -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("shop:application", "application"),
        ("shop:app", "app"),
        ("shop", "application"),
        (" shop:app ", "app"),
        ("shop:api.v1.handle", "handle"),
        ("shop:decorated", "plain"),
    ],
)
def test_finds_the_application(tmp_path: Path, write: Write, target: str, name: str) -> None:
    write(
        "shop.py",
        APP
        + """
class api:
    class v1:
        @staticmethod
        def handle(environ, start_response): ...

import functools
def plain(): ...
@functools.wraps(plain)  # a signature that lies
def decorated(*args): ...
""",
    )
    assert load(settings(tmp_path, target)).__name__ == name  # type: ignore[attr-defined]


def test_a_plain_module_falls_back_to_app(tmp_path: Path, write: Write) -> None:
    write("only_app.py", "def app(environ, start_response): return [b'yes']")
    assert load(settings(tmp_path, "only_app"))({}, None) == [b"yes"]


@pytest.mark.parametrize("target", ["made:create_app", "made"])
def test_calls_a_factory(tmp_path: Path, write: Write, target: str) -> None:
    write("made.py", "def create_app(debug=False):\n    return lambda environ, start_response: [b'made']")
    assert load(settings(tmp_path, target, factory=True))({}, None) == [b"made"]


def test_imports_from_the_directory_first_and_works_in_it(tmp_path: Path, write: Write) -> None:
    write("pkg/__init__.py", "")
    write("pkg/wsgi.py", "import sibling, os\ncwd = os.getcwd()\n" + APP)
    write("sibling.py", "")
    load(settings(tmp_path, "pkg.wsgi:app"))
    assert sys.path[0] == str(tmp_path)
    assert sys.modules["pkg.wsgi"].cwd == str(tmp_path)


def test_keeps_the_symbolic_link_that_names_the_directory(tmp_path: Path, write: Write) -> None:
    write("release-7/shop.py")
    link = tmp_path / "current"
    link.symlink_to("release-7")
    load(settings(link, "shop:app"))
    assert sys.modules["shop"].__file__ == str(link / "shop.py")


# --- what is not -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("shpo:app", "no module named 'shpo' in {dir} (app.directory, --chdir) nor in "),
        ("shpo:app", "did you mean shop:app?"),
        ("SHOP:app", "did you mean shop:app?"),
        ("nothing_like_it", "there are pkg, shop in that directory"),
        ("pkg.wsgy:app", "no module named 'pkg.wsgy' in {dir}/pkg: did you mean pkg.wsgi:app?"),
        ("pkg.x.y:app", "no module named 'pkg.x' (for 'pkg.x.y') in {dir}/pkg; there are wsgi"),
        ("shop.application", "shop ({dir}/shop.py) is a module, not a package: did you mean shop:application?"),
        ("shop.nothing", "shop ({dir}/shop.py) is a module, not a package"),
        ("shop:aplication", "module shop ({dir}/shop.py) has no attribute 'aplication': did you mean `application`?"),
        ("shop:apps", "did you mean `app`?"),
        ("shop:App", "did you mean `app`?"),
        ("shop:qqqqqq", "it has application, app, flask_like, make_app"),
        ("shop:flask_like.handel", "shop:flask_like has no attribute 'handel': did you mean shop:flask_like.handle?"),
        ("shop:text", "shop:text is of type str, which is not callable; shop has these callables: application, app"),
        ("shop:none", "shop:none is None, which is not callable"),
        ("pkg:wsgi", "did you mean the module pkg.wsgi?"),
        ("pkg.wsgi:shop", "pkg.wsgi:shop is a module, not a callable: did you mean shop:application?"),
        ("shop:make_app", "it takes no arguments; if it makes the application, add --factory (app.factory)"),
        ("shop:asgi3", "it is asynchronous (ASGI), and this server speaks WSGI"),
        ("shop:AsgiClass", "it takes three arguments, as ASGI applications do"),
        ("shop:all_optional", "it takes (name='shop', debug=True), all of it optional; if it makes"),
        ("shop:one", "it takes (environ), not (environ, start_response)"),
        ("shop:Keyword", "(environ, start_response)"),
        ("my-shop:app", "'my-shop' is not the name of a Python module"),
        ("shop:app:x", "'app:x' is not the name of a Python attribute"),
        ("shop:", "'' is not the name of a Python attribute; write shop:app"),
        (":app", "'' is not the name of a Python module; write package.module:attribute"),
    ],
)
def test_says_what_is_wrong_with_the_name(tmp_path: Path, write: Write, target: str, expected: str) -> None:
    write("pkg/__init__.py", "")
    write("pkg/wsgi.py", "import shop\n" + APP)
    write(
        "shop.py",
        APP
        + """
from collections import OrderedDict  # callable, but not what anyone would serve
text, none = "a string", None
class FlaskLike:
    def __call__(self, environ, start_response): ...
    def handle(self, environ, start_response): ...
flask_like = FlaskLike()
del FlaskLike
def make_app(): ...
def all_optional(name="shop", debug=True): ...
async def asgi3(scope, receive, send): ...
class AsgiClass:
    def __init__(self, scope, receive, send): ...
def one(environ): ...
def Keyword(environ, start_response, *, extra): ...
""",
    )
    error = failure(tmp_path, target.format(dir=tmp_path))
    assert error.code in {Code.NO_MODULE, Code.NO_APPLICATION, Code.DIRECTORY_UNUSABLE}
    assert expected.format(dir=tmp_path) in error.error
    assert error.traceback == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "x = 1",
            "has none of `application`, `app`, `wsgi`, `create_app`, `make_app`, nor anything that can be called",
        ),
        ("app = None", "bare:app is None, which is not callable"),
        ("def serve_it(a, b): ...", "name what to serve, as in bare:serve_it (it has serve_it)"),
    ],
)
def test_says_what_a_plain_module_lacks(tmp_path: Path, write: Write, source: str, expected: str) -> None:
    path = write("bare.py", source)
    error = failure(tmp_path, "bare").error
    assert error.startswith((f"module bare ({path}) ", "bare:app "))
    assert expected in error


def test_says_that_a_directory_is_no_package(tmp_path: Path, write: Write) -> None:
    write("space/other.py", "")
    error = failure(tmp_path, "space:app").error
    assert f"module space ({tmp_path}/space, a directory without __init__.py) has no attribute 'app'" in error


def test_says_that_the_directory_is_gone(tmp_path: Path) -> None:
    error = failure(tmp_path / "gone", "shop:app")
    assert error.error == f"app.directory {tmp_path}/gone cannot be entered: No such file or directory"


def test_says_where_a_missing_module_was_looked_for(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["/opt/shop/lib", *sys.path])
    said = failure(tmp_path, "shop").error
    assert f"in {tmp_path} (app.directory, --chdir) nor in /opt/shop/lib, " in said
    assert f", where {sys.executable} looks" in said
    assert "lib-dynload" not in said
    assert f"{os.path.dirname(os.__file__)}," not in said


@pytest.mark.parametrize(("source", "missing"), [("", "shpo"), ("import pricing", "shop")])
def test_says_that_the_daemons_path_is_not_the_applications(
    tmp_path: Path, write: Write, source: str, missing: str
) -> None:
    write("shop.py", f"{source}\n{APP}")
    whole = settings(tmp_path, missing)._replace(python_path_dropped=True)
    with pytest.raises(BootError, match="the daemon's PYTHONPATH is not passed on"):
        load(whole)
    assert "PYTHONPATH" not in failure(tmp_path, missing).error


def test_says_that_an_empty_directory_has_no_module(tmp_path: Path) -> None:
    assert "there is no Python module in that directory" in failure(tmp_path, "shop:app").error


# --- what is broken ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "error", "last_line"),
    [
        ("1 / 0", "cannot import broken: ZeroDivisionError: division by zero", "ZeroDivisionError: division by zero"),
        (
            "import flask_sqlalchemi",
            "cannot import broken: no module named 'flask_sqlalchemi': it is not installed for {python}; "
            "app.python (--python) chooses the interpreter",
            "ModuleNotFoundError: No module named 'flask_sqlalchemi'",
        ),
        (
            "from os import nothing",
            "cannot import broken: ImportError: cannot import name 'nothing' from 'os'",
            "ImportError: cannot import name 'nothing' from 'os'",
        ),
        ("import broken.inner", "cannot import broken: ModuleNotFoundError: No module named 'broken.inner'", ""),
        ("import sys; sys.exit(4)", "cannot import broken: it called sys.exit(4)", "SystemExit: 4"),
        ("exit()", "cannot import broken: it called sys.exit()", "SystemExit: None"),
        ("raise KeyboardInterrupt", "cannot import broken: KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('b')", "cannot import broken: BaseException: b", "BaseException: b"),
        ("raise ValueError('one\\ntwo')", "cannot import broken: ValueError: one two", "two"),
        ("raise ExceptionGroup('g', [ValueError(1)])", "cannot import broken: ExceptionGroup: g", ""),
        (
            "class E(Exception):\n    def __str__(self): raise E\nraise E",
            "cannot import broken: E: (its message cannot be shown)",
            "broken.E: <exception str() failed>",
        ),
    ],
)
def test_shows_what_an_import_raised(tmp_path: Path, write: Write, source: str, error: str, last_line: str) -> None:
    path = write("broken.py", source)
    caught = failure(tmp_path, "broken:app")
    is_missing = "no module named" in error.lower()
    assert caught.code is (Code.NO_MODULE if is_missing else Code.IMPORT_RAISED)
    assert caught.error.startswith(error.format(python=sys.executable))
    assert f'File "{path}", line ' in caught.traceback
    assert caught.traceback.splitlines()[-1].startswith(last_line)
    assert_only_user_frames(caught.traceback)


def assert_only_user_frames(traceback: str) -> None:
    for machinery in ("importlib", "worker/application", "import_module"):
        assert machinery not in traceback


def test_shows_the_way_through_nested_imports_without_the_import_system(tmp_path: Path, write: Write) -> None:
    write("outer.py", "import middle")
    write("middle.py", "import importlib\nload = importlib.import_module\nload('inner')")
    write(
        "inner.py", "import middle\ntry:\n    middle.load('nope')\nexcept ImportError as e:\n    raise OSError from e"
    )
    text = failure(tmp_path, "outer").traceback
    assert_only_user_frames(text)
    frames = [line.split('"')[1].rpartition("/")[2] for line in text.splitlines() if line.startswith("  File")]
    assert frames == ["inner.py", "outer.py", "middle.py", "inner.py"]
    assert "The above exception was the direct cause" in text


def test_a_package_that_looks_for_the_missing_module_itself_is_broken(tmp_path: Path, write: Write) -> None:
    write("pkg/__init__.py", "import pkg.wsgi")
    caught = failure(tmp_path, "pkg.wsgi")
    assert caught.error == "cannot import pkg.wsgi: ModuleNotFoundError: No module named 'pkg.wsgi'"
    assert "pkg/__init__.py" in caught.traceback


@pytest.mark.parametrize("name", ["syntax", "imports_syntax"])
def test_shows_a_syntax_error_with_line_and_caret(tmp_path: Path, write: Write, name: str) -> None:
    write("imports_syntax.py", "import syntax")
    write("syntax.py", "ok = 1\ndef app(environ, start_response:\n    pass\n")
    caught = failure(tmp_path, f"{name}:app")
    assert caught.error == f"cannot import {name}: syntax.py, line 2: SyntaxError: '(' was never closed"
    assert caught.traceback.splitlines()[-3:] == [
        "    def app(environ, start_response:",
        "           ^",
        "SyntaxError: '(' was never closed",
    ]
    assert caught.traceback.startswith("Traceback") == (name == "imports_syntax")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def make(): 1 / 0", "broken:make() failed: ZeroDivisionError: division by zero"),
        ("def make(): raise SystemExit(1)", "broken:make() failed: it called sys.exit(1)"),
        ("def make(): len()", "broken:make() failed: TypeError: len() takes exactly one argument (0 given)"),
    ],
)
def test_shows_what_a_factory_raised(tmp_path: Path, write: Write, source: str, error: str) -> None:
    write("broken.py", source)
    caught = failure(tmp_path, "broken:make", factory=True)
    assert (caught.code, caught.error) == (Code.FACTORY_FAILED, error)
    assert "in make" in caught.traceback
    assert_only_user_frames(caught.traceback)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def make(): pass", "broken:make() returned None, which is not callable: does it end with `return app`?"),
        ("def make(): return 'x'", "broken:make() returned of type str, which is not callable"),
        ("async def make(): ...", "broken:make is an async function; a factory must be a plain one"),
        ("def make(environ, start_response): ...", "it looks like the application itself; leave out --factory"),
        ("def make(name, debug=True): ...", "broken:make takes (name, debug=True); write its arguments, as in"),
        ("def make(config): ...", "broken:make takes (config); write its arguments, as in --factory 'broken:make("),
        (
            "def make():\n    async def app(scope, receive, send): ...\n    return app",
            "what broken:make() returned is no WSGI application: it is asynchronous (ASGI)",
        ),
    ],
)
def test_says_why_it_is_no_factory(tmp_path: Path, write: Write, source: str, error: str) -> None:
    write("broken.py", source)
    with warnings.catch_warnings(record=True) as warned:
        caught = failure(tmp_path, "broken:make", factory=True)
        gc.collect()
    assert not [warning for warning in warned if "never awaited" in str(warning.message)]
    assert caught.code is (Code.NO_APPLICATION if error.startswith("what broken") else Code.FACTORY_FAILED)
    assert error in caught.error
    assert caught.traceback == ""


def test_shows_what_an_attribute_raised(tmp_path: Path, write: Write) -> None:
    write(
        "lazy.py",
        "def __getattr__(name):\n    if name == 'app': raise AttributeError('no settings yet')\n"
        "    raise AttributeError(name)\n",
    )
    caught = failure(tmp_path, "lazy:app")
    assert caught.error == "lazy:app: AttributeError: no settings yet"
    assert "in __getattr__" in caught.traceback


def test_a_long_message_is_cut(tmp_path: Path, write: Write) -> None:
    write("broken.py", "raise ValueError('x' * 100_000)")
    assert len(failure(tmp_path, "broken").error) < 600


class Lenient:
    def __call__(self, *args: object, **kwargs: object) -> None: ...


class Wsgi:
    def __init__(self, environ: object, start_response: object) -> None: ...


async def asgi(scope: object, receive: object) -> None: ...


class Asgi:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


@pytest.mark.parametrize(
    ("application", "fits"),
    [
        (lambda environ, start_response: [], True),
        (lambda environ, start_response, extra=None: [], True),
        (lambda *args: [], True),
        (Lenient(), True),
        (Wsgi, True),
        (dict, True),  # built in: it does not tell
        (Lenient().__call__, True),
        (asgi, False),
        (Asgi(), False),
        (Asgi, False),  # the class instead of an instance
        (lambda: [], False),
        (lambda environ: [], False),
    ],
)
def test_knows_what_can_be_an_application(application: object, fits: bool) -> None:
    assert (unfit(application) == "") is fits


# --- what another process has ------------------------------------------------------------------------
NEEDS = {
    "a port": "import socket; listener = socket.create_server(('127.0.0.1', PORT))",
    "a file lock": "import fcntl; lock = open('held'); fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "an exit": """
        import fcntl, sys
        try:
            fcntl.flock(open('held'), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("no")
        """,
    "a database": "import sqlite3; sqlite3.connect('held.db', timeout=0).execute('begin exclusive')",
    "filelock": "raise TimeoutError(\"The file lock 'held' could not be acquired.\")",
    "a pid file": "open('app.pid', 'x')",
    "dbm": "import dbm.gnu; dbm.gnu.open('held.gdbm', 'c')",
}


@pytest.mark.parametrize("needs", NEEDS.values(), ids=NEEDS)
def test_what_the_import_wants_and_another_process_has(tmp_path: Path, write: Write, needs: str) -> None:
    if "dbm" in needs:
        gdbm = pytest.importorskip("dbm.gnu", exc_type=ImportError).open(str(tmp_path / "held.gdbm"), "c")
    (tmp_path / "app.pid").touch()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        (tmp_path / "held").open("w") as lock,
        contextlib.closing(sqlite3.connect(tmp_path / "held.db", isolation_level=None)) as database,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        database.execute("begin exclusive")
        write("shop.py", needs.replace("PORT", str(listener.getsockname()[1])))
        with pytest.raises(BootError) as caught:
            load(settings(tmp_path, "shop")._replace(generation=7))
    if "dbm" in needs:
        gdbm.close()
    assert "; what it wants is held by another process, probably the running generation, for a" in caught.value.error
    assert caught.value.error.endswith("a restart of the service, unlike a reload, lets go of it first")


def test_what_a_factory_wants_and_another_process_has(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def create_app(): raise BlockingIOError(11, 'Resource temporarily unavailable')")
    said = failure(tmp_path, "shop:create_app", factory=True).error
    assert "held by another process, probably another worker, if each imports by itself" in said
    assert "restart" not in said, "the first start"


@pytest.mark.parametrize(
    "error", ["NameError('lock is locked')", "ValueError('lock')", "FileExistsError(17, 'File exists', 'data')"]
)
def test_other_errors_are_not_taken_for_it(tmp_path: Path, write: Write, error: str) -> None:
    write("shop.py", f"raise {error}")
    assert "another process" not in failure(tmp_path, "shop").error


def test_needs_nothing_but_the_standard_library() -> None:
    package_parent = str(Path(load.__code__.co_filename).parents[3])
    script = (
        f"import sys; sys.path.insert(0, {package_parent!r}); before = set(sys.modules)\n"
        "import miniwsgi.daemon.worker.application, json\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(run.stdout))
    assert not {name for name in loaded if "." not in name} - sys.stdlib_module_names - {"miniwsgi"}
