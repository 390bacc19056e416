"""How the compiled engine is made: from Cython to C, from C to a build for an interpreter.

setup.py takes the first half and the flags from here, `miniwsgi engine build` the second: the C source is a part of
every installation, so that neither Cython nor setuptools has to be where an application runs. A compiler has, and the
headers of the application's Python. Blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .engine import builds

# Types are on the heap, and each module has its own. The interpreter's own flags come first: the last word is ours.
# Measured: -O3 is as fast as -O2 within 1 %, in 45 KB more; -Os is slower by 5 %.
FLAGS = ("-DCYTHON_USE_TYPE_SPECS=1", "-O2", "-g0", "-fvisibility=hidden")
EXTRA_FLAGS = "MINIWSGI_ENGINE_FLAGS"  # of the environment: "-O1 -g -fsanitize=address", for compiler and linker
ASK_SECONDS = 60
BUILD_SECONDS = 600
SHOWN_LINES = 20  # of what a compiler says

# What an interpreter says of itself: it has all of ours that a launcher would have, as miniwsgi is not installed there.
QUESTION = """
import sys
if sys.version_info < (3, 11):
    sys.exit("Python %d.%d is older than 3.11" % sys.version_info[:2])
import importlib.util, json, sysconfig
launch, folder, build = sys.argv[1:]
spec = importlib.util.spec_from_file_location("launch", launch)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.packages(folder)
from miniwsgi.daemon.engine import builds, choice
if build:
    builds.execute(build)
chosen = choice.choose("auto")
print(json.dumps({
    "name": builds.interpreter(),
    "version": ".".join(map(str, sys.version_info[:3])),
    "plain": builds.why_plain(),
    "file": builds.FILE,
    "engine": str(chosen),
    "path": getattr(sys.modules.get(builds.MODULE), "__file__", ""),
    "headers": [sysconfig.get_path("include"), sysconfig.get_path("platinclude")],
    "compiler": sysconfig.get_config_var("CC") or "cc",
    "flags": " ".join(sysconfig.get_config_var(name) or "" for name in ("CFLAGS", "CCSHARED")),
}))
"""


class BuildError(Exception):
    """Why there is no build now, in a sentence for the operator."""


class NoInterpreter(BuildError):
    """What was named is no interpreter that could run an application of ours."""


def flags() -> list[str]:
    """For the compiler, the last word on each matter. Raises BuildError."""
    return [*FLAGS, *_words(EXTRA_FLAGS)]


def _words(variable: str) -> list[str]:
    """What the environment says there, as a shell reads it. Raises BuildError."""
    text = os.environ.get(variable, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BuildError(f"{variable}={text}: {error}") from None


# --- from Cython to C -------------------------------------------------------------------------------------------


def c_source_fits() -> bool:
    """Whether the C source is what Cython makes of the sources as they are now."""
    try:
        return builds.mark(builds.key()) in Path(builds.C_SOURCE).read_bytes()
    except FileNotFoundError:
        return False


def make_c_source() -> None:
    """Have Cython write it; needed again when c_source_fits() says so. Raises subprocess.CalledProcessError.

    It ends with the key of its sources, which the compiler keeps in each build.
    """
    unfinished = Path(f"{builds.C_SOURCE}.{os.getpid()}.c")
    source = f"{builds.FOLDER}/_engine.pyx"
    command = [sys.executable, "-m", "cython", "-3", "--module-name", builds.MODULE, "--output-file", str(unfinished)]
    try:
        subprocess.run([*command, source], check=True)  # noqa: S603 - no shell, our words
        with unfinished.open("ab") as file:
            text = builds.mark(builds.key()).decode()
            file.write(f'static const char miniwsgi_engine[] __attribute__((used)) = "{text}";\n'.encode())
        unfinished.replace(builds.C_SOURCE)
    finally:
        unfinished.unlink(missing_ok=True)


# --- from C to a build ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interpreter:
    """What one says of itself."""

    python: str
    name: str  # "CPython 3.12"
    version: str  # "3.12.1"
    plain: str  # why it runs no compiled engine, whatever is built; "" if it would
    file: str  # what a build for it is called
    engine: str  # what it runs as it is: "compiled", "plain: no build for CPython 3.12"
    path: str  # of the build that it loads; "" if it loads none
    headers: list[str]  # the directories of its C headers
    compiler: str  # with which it was built itself: "gcc -pthread"
    flags: str


def ask(python: str, build: str = "") -> Interpreter:
    """What an interpreter is; with `build`, after it has loaded that. Raises NoInterpreter."""
    folder = Path(__file__).absolute().parents[1]  # not resolved: what is beside a link is not what was installed
    launch = folder / "daemon" / "worker" / "launch.py"
    command = [python, "-I", "-c", QUESTION, str(launch), str(folder), build]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoInterpreter(f"{python}: {getattr(error, 'strerror', None) or 'it does not answer'}") from None
    if done.returncode:
        raise NoInterpreter(f"{python}: {_last_lines(done.stderr, 1) or f'exit status {done.returncode}'}")
    try:
        return Interpreter(python, **json.loads(done.stdout))
    except (ValueError, TypeError):
        raise NoInterpreter(f"{python} is no Python") from None


def default_directory() -> str:
    """Where this user's builds go: root's are for everybody."""
    return builds.own() if os.geteuid() else builds.BUILT


def build(python: str, directory: str = "") -> Iterator[str]:
    """Make a build for an interpreter, below the directory; a line for each step. Raises BuildError.

    It takes the place of an older one in a single step, once the interpreter has loaded it.
    """
    interpreter = ask(python)
    if interpreter.plain:
        raise BuildError(f"{python}: {interpreter.plain}: it runs the plain engine")
    if not c_source_fits():
        raise BuildError(f"{builds.C_SOURCE} is not there, or is another release's: install miniwsgi anew")
    command = _compile(interpreter)
    target = Path(directory or default_directory()) / builds.key() / interpreter.file
    unfinished = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        _make_directories(target.parent)
        yield f"compiling  for {python} (CPython {interpreter.version}), with {command[0]}"
        _run([*command, "-o", str(unfinished)])
        unfinished.chmod(0o644)
        ask(python, str(unfinished))
        unfinished.replace(target)
    except NoInterpreter as error:
        raise BuildError(f"the build does not load: {error}") from None
    except OSError as error:
        raise BuildError(f"{error.filename}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # where no directory could be made there is none
            unfinished.unlink()
    yield f"wrote      {target}"
    if str(target) not in builds.places(interpreter.file):
        yield f"not looked for there: it belongs below {builds.PACKAGED} or {default_directory()}"
    elif unfit := builds.why_not_trusted(str(target)):
        yield f"not loaded: {unfit}"


def _compile(interpreter: Interpreter) -> list[str]:
    """The command, but for the result's name."""
    compiler = asked = _words("CC")
    if not asked:
        compiler = shlex.split(interpreter.compiler)
        if not shutil.which(compiler[0]):
            compiler = ["cc"]
    if asked and not shutil.which(asked[0]):
        raise BuildError(f"there is no C compiler {asked[0]}, which CC names")
    if not shutil.which(compiler[0]):
        raise BuildError("there is no C compiler (Debian: apt-get install gcc libc6-dev; or name one: CC=…)")
    if not any(os.path.exists(f"{folder}/Python.h") for folder in interpreter.headers):
        short = interpreter.version.rpartition(".")[0]
        raise BuildError(
            f"{interpreter.python} has no C headers: there is no {interpreter.headers[0]}/Python.h "
            f"(Debian's Python: apt-get install python{short}-dev)"
        )
    return [
        *compiler,
        *shlex.split(interpreter.flags),
        *(f"-I{folder}" for folder in dict.fromkeys(interpreter.headers)),
        *flags(),
        "-shared",
        builds.C_SOURCE,
    ]


def _make_directories(path: Path) -> None:
    """As others may read them, whatever the umask is. Raises OSError."""
    if not path.is_dir():
        _make_directories(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def _run(command: list[str]) -> None:
    """Raises BuildError with the end of what the compiler said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {BUILD_SECONDS} s") from None
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{_last_lines(done.stderr, SHOWN_LINES)}")


def _last_lines(text: str, count: int) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


# --- what there is ----------------------------------------------------------------------------------------------


def existing(asked: Iterable[Interpreter] = ()) -> Iterator[builds.Found]:
    """All builds in all places, those of other releases too; what fits one of `asked` is loaded there."""
    loads = {interpreter.file: interpreter for interpreter in asked}
    for found in _all():
        interpreter = loads.get(os.path.basename(found.path))
        if found.unfit or interpreter is None or interpreter.path == found.path:
            yield found
        else:
            yield found._replace(unfit=_why_not_loading(interpreter, found.path))


def _all() -> Iterator[builds.Found]:
    for path in sorted(Path(builds.FOLDER).glob("_engine.*.so")):
        yield builds.Found(str(path), builds.why_unfit(str(path)))
    for directory in builds.directories():
        for path in sorted(Path(directory).glob("*/_engine.*.so")):
            found = str(path)
            yield builds.Found(found, builds.why_unfit(found) or builds.why_not_trusted(found))


def _why_not_loading(interpreter: Interpreter, path: str) -> str:
    """What an interpreter says that has loaded it; "" if nothing is wrong with it."""
    try:
        ask(interpreter.python, path)
    except NoInterpreter as error:
        why = str(error).removeprefix(f"{interpreter.python}: ").rpartition("NoBuild: ")[2]
        return why if why.startswith(path) else f"{path} does not load: {why}"
    return ""
