"""Worker-side code takes from the standard library what was there before the application: miniwsgi.daemon.unpatched.

What gevent and eventlet replace is named here; that these names, and imports that come too late, are not to be found in
our sources is looked up in the sources themselves.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

COPIED = {"os", "select", "signal", "socket", "time"}  # by `unpatched`
NEVER = {"_thread", "queue", "selectors", "ssl", "subprocess", "threading"}
# Of the modules on which HTTP, WSGI and metrics stand, which import nothing of the daemon's:
REPLACED = {
    "os": {"close", "fdopen", "fork", "forkpty", "open", "posix_spawn", "read", "wait", "waitpid", "write"},
    "time": {"sleep"},
}
LOOKS_AT_THREADS = {"background_jobs.py", "fork_safety.py", "thread_clocks.py"}  # of the application
BEHIND_THE_IMPORT = ("daemon/worker", "daemon/engine", "daemon/channel.py", "daemon/log", "daemon/temporary.py")
BEFORE_THE_IMPORT = {"launch.py"}  # it begins the launcher, whose modules it has to make importable first
# What serves only what is asked for: a launcher loads it before the application (interpreter.py); functions look it up.
LOADED = {
    "..engine.uwsgi.conversation",
    "..static.directory",
    "..static.routes",
    ".proxy",
    ".proxy_header",
    ".x_sendfile",
}
GROUND = (
    "daemon/executed.py",
    "daemon/http",
    "daemon/settings.py",
    "metrics/board.py",
    "metrics/scoreboard.py",
    "metrics/slot.py",
)


def sources(*names: str) -> list[Path]:
    paths = [ROOT / name for name in names]
    return [source for path in paths for source in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def imports(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import that runs: the statement and the module's name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from ((child, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child, "." * child.level + (child.module or "")
        else:
            yield from imports(child)


def too_late(tree: ast.AST) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = ((function, name) for function in functions for _, name in imports(function))
    return [f"{name} in {function.name}()" for function, name in found if name not in LOADED]


@pytest.mark.parametrize("path", sources(*BEHIND_THE_IMPORT, *GROUND), ids=lambda path: path.name)
def test_nothing_is_imported_by_a_function(path: Path) -> None:
    assert path.name in BEFORE_THE_IMPORT or not too_late(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sources(*BEHIND_THE_IMPORT), ids=lambda path: path.name)
def test_what_may_be_replaced_is_taken_from_its_copy(path: Path) -> None:
    forbidden = COPIED | NEVER - ({"threading"} if path.name in LOOKS_AT_THREADS else set())
    assert not {name for _, name in imports(ast.parse(path.read_text()))} & forbidden


@pytest.mark.parametrize("path", sources(*GROUND), ids=lambda path: path.name)
def test_the_ground_uses_nothing_that_may_be_replaced(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not {name for _, name in imports(tree)} & (NEVER | COPIED - REPLACED.keys())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.attr not in REPLACED.get(node.value.id, ()), f"line {node.lineno}: {ast.unparse(node)}"


# --- what the copies are worth in a patched process ---------------------------------------------------------------

PATCHED = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    # What neither of them does, yet:
    "everything": """
        for module in map(__import__, ("os", "select", "signal", "time")):
            for name in [name for name, value in vars(module).items() if type(value) is type(len)]:
                setattr(module, name, None)
        for name in ("socket.socket", "socket.socketpair", "threading.Lock", "threading.Thread"):
            module, _, name = name.partition(".")
            setattr(__import__(module), name, None)
    """,
}


def run(patch: str, script: str) -> list[str]:
    """The lines that a script prints in a process that has imported `unpatched` and was patched afterwards."""
    lines = ["import sys, warnings; warnings.simplefilter('ignore')", "from miniwsgi.daemon.unpatched import *"]
    text = "\n".join([*lines, textwrap.dedent(patch), textwrap.dedent(script)])
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("patch", PATCHED)
def test_threads_and_locks_stay_real(patch: str) -> None:
    if patch != "everything" and find_spec(patch) is None:  # not imported here: each takes hold of its process
        pytest.skip(f"{patch} is not there for this Python")
    script = """
        import _thread
        lock, turn = Lock(), RLock()
        settled = Condition(turn)
        lock.acquire()
        seen = []

        def work():
            seen.append(get_ident())
            lock.acquire()              # until the main thread lets go
            with turn, turn:
                seen.append(get_ident())
                settled.notify_all()

        join = start_thread(work, "work")
        print(join(0.01))               # a real thread waits for a real lock
        lock.release()
        with turn:
            print(settled.wait_for(lambda: len(seen) == 2, 30))
            print(settled.wait_for(lambda: len(seen) == 3, 0.01))
        print(join(30), join(30), seen[0] == seen[1] != get_ident())
        reader, writer = socket.socketpair()
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        print(poll.poll(0), select.epoll is not None)
        writer.send(b"x")
        print(os.read(reader.fileno(), 9) == b"x", type(reader) is type(writer) is socket.socket)
        listener = socket.socket()
        listener.listen()
        with socket.socket() as client:
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            print(type(accepted) is socket.socket)
        reader.setblocking(False)
        try:
            os.read(reader.fileno(), 1)
        except BlockingIOError:
            print("empty")
    """
    told = run(PATCHED[patch], script)
    assert told == ["False", "True", "False", "True", "True", "True", "[]", "True", "True", "True", "True", "empty"]


IMPORTS_AT_ONCE = """
    import importlib, threading
    begun, others = Lock(), Lock()
    begun.acquire(), others.acquire()

    def arrived():                      # whoever imports it is there until all want to
        begun.release()
        others.acquire()

    def late():
        importlib.import_module("wanted")

    joins = [start_thread(late, "first")]
    begun.acquire()
    joins += [start_thread(late, f"thread-{number}") for number in range(7)]
    time.sleep(0.1)                     # they wait for the module's lock, or soon will, which does no harm
    others.release()
    print(*(join(10) for join in joins), flush=True)
"""


@pytest.mark.parametrize("patch", ["gevent", "eventlet"])
def test_threads_may_import_the_same_module_at_once(patch: str, tmp_path: Path) -> None:
    if find_spec(patch) is None:
        pytest.skip(f"{patch} is not there for this Python")
    (tmp_path / "wanted.py").write_text("import sys; sys.modules['__main__'].arrived()")
    begin = f"sys.path.insert(0, {str(tmp_path)!r}); import_under_real_locks()\n"
    assert run(PATCHED[patch], begin + textwrap.dedent(IMPORTS_AT_ONCE)) == ["True"] * 8
