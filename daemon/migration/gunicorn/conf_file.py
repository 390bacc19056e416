"""Reading a gunicorn.conf.py: it is executed in a process of its own, for so long, and what it prints is not ours."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...config.environment import dropped_variables
from ..asked import SECONDS
from ..setting import Given
from ..trouble import ImportTrouble
from .offspring import ended_at_exit
from .table import SETTINGS

OLD = {"logfile": "errorlog", "before_fork": "pre_fork", "after_fork": "post_fork", "before_exec": "pre_exec"}
MOST_SAID_BYTES = 4000
MOST_ANSWER_BYTES = 4 << 20
PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True, slots=True, repr=False)
class Object:
    """A value that is no data: a function, a class."""

    name: str
    call: bool

    def __repr__(self) -> str:
        return f"the {'function or class' if self.call else 'object'} {self.name.removeprefix('__config__.')}"


@dataclass(frozen=True, slots=True)
class Executed:
    """What a file sets, what it has printed, and what should be known of it."""

    given: list[Given]
    printed: str
    notes: list[str]


def execute(where: str, python: str, directory: str, environ: Mapping[str, str], seconds: float = SECONDS) -> Executed:
    """What a file (or "python:MODULE") says.

    `python` is the interpreter, `directory` is current and importable, as for gunicorn. Raises ImportTrouble.
    """
    name = _name(where)
    with ended_at_exit():
        answer, said = _run(where, python, directory, environ, seconds)
    if error := answer.get("error"):
        raise ImportTrouble(_error(name, error, python))
    given = [
        Given(
            entry["name"],
            _value(entry["value"]),
            f"line {entry['line']}" if entry["line"] else f"imported by {name}",
            entry["was"],
            tuple(entry["parts"]),
        )
        for entry in answer["found"]
    ]
    return Executed(given, said, [note for entry in answer["unused"] if (note := _slip(name, entry))])


def _name(where: str) -> str:
    return where if where.startswith("python:") else os.path.basename(where)


def _slip(name: str, unused: dict[str, Any]) -> str:
    """About a name that gunicorn ignores, if it looks like one that was meant to be a setting; else ""."""
    flag = f"--{unused['name'].replace('_', '-')}"
    near = [name for name, setting in SETTINGS.items() if flag in setting.flags]
    near += [OLD[unused["name"]]] if unused["name"] in OLD else get_close_matches(unused["name"], SETTINGS, 1, 0.85)
    if not near:
        return ""
    return f"{name}, line {unused['line']}: {unused['name']} is no setting of gunicorn's: was {near[0]} meant?"


def _value(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"object", "call"}:
        return Object(value["object"], value["call"])
    return value


def _error(name: str, error: dict[str, Any], python: str) -> str:
    line = f", line {error['line']}" if error["line"] else ""
    elsewhere = f" (in {error['elsewhere']})" if error["elsewhere"] else ""
    text = f"{name}{line}: {error['type']}: {error['message']}{elsewhere}"
    if error["type"] in ("ModuleNotFoundError", "ImportError"):
        return f"{text}\nIt was executed by {python}: name the application's interpreter with --python."
    if error["type"] == "KeyError":
        variable = str(error["message"]).strip("'")
        return f"{text}\nIf that is a variable of the environment: {variable}=… miniwsgi import …"
    return text


def _run(
    where: str, python: str, directory: str, environ: Mapping[str, str], seconds: float
) -> tuple[dict[str, Any], str]:
    name = _name(where)
    dropped = dropped_variables(python, environ)
    answer_fd, theirs = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - what the operator asks for
            [python, "-c", PROBE.read_text("utf-8"), str(theirs), where, ",".join(SETTINGS)],
            cwd=directory,
            env={key: value for key, value in environ.items() if key not in dropped},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(answer_fd)
        raise ImportTrouble(f"{python} cannot be executed: {error.strerror}") from None
    finally:
        os.close(theirs)
    assert process.stdout is not None
    with process, open(answer_fd, "rb", buffering=0) as answer_file:
        try:
            answer, said = _collect(process, answer_file.fileno(), process.stdout.fileno(), seconds)
        except TimeoutError:
            raise ImportTrouble(f"{name} has not ended after {seconds:g} s: it was stopped") from None
        finally:
            process.kill()
    text = said.decode("utf-8", "replace").strip()
    try:
        return json.loads(answer), text
    except ValueError:
        status = process.returncode
        why = text.splitlines()[-1] if text else "it said nothing"
        raise ImportTrouble(f"{name} ended the process that executed it (exit status {status}): {why}") from None


def _collect(process: subprocess.Popen[bytes], answer: int, output: int, seconds: float) -> tuple[bytes, bytes]:
    """The answer, and the beginning of what was printed. Ends with the process, whoever else holds its pipes.

    Raises TimeoutError.
    """
    got = {answer: bytearray(), output: bytearray()}
    most = {answer: MOST_ANSWER_BYTES, output: MOST_SAID_BYTES}
    deadline = time.monotonic() + seconds
    pidfd = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        for descriptor in (answer, output, pidfd):
            selector.register(descriptor, selectors.EVENT_READ)
        try:
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                if not ready:
                    raise TimeoutError
                for descriptor in ready - {pidfd}:
                    data = os.read(descriptor, 65536)
                    got[descriptor] += data[: most[descriptor] - len(got[descriptor])]
                    if not data:
                        selector.unregister(descriptor)
                if ready == {pidfd}:
                    return bytes(got[answer]), bytes(got[output])
                if time.monotonic() > deadline:
                    raise TimeoutError
        finally:
            os.close(pidfd)
