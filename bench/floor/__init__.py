"""The floor: the least that anybody could do with a connection, which no WSGI server can beat.

Each program here is one short file that serves 127.0.0.1:PORT until it is killed. The echoes and loops exist
twice, in Python and in C: what lies between the two is the interpreter, what lies above is the work of a server.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
COMPILE_SECONDS = 60


def compiler() -> str | None:
    """The path of a C compiler, None without."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def compile_floor(directory: Path) -> dict[str, Path]:
    """Compile the programs in C into `directory`: "echo" and "loop" with their executables.

    Nothing without a compiler; a program that it refuses is left out, and its complaint printed on stderr.
    """
    command = compiler()
    if command is None:
        return {}
    made = {}
    for source in sorted(HERE.glob("*.c")):
        executable = directory / source.stem
        argv = [command, *FLAGS, "-o", str(executable), str(source)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=COMPILE_SECONDS)
        sys.stderr.write(done.stderr)
        if done.returncode == 0:
            made[source.stem] = executable
    return made
