"""Stacks for people: the threads that do something as they are, those that wait for work in a line."""

from __future__ import annotations

import re

from ... import messages
from .. import text

RUNS = "\n  # runs "  # as the daemon writes it below a heading
FRAME = re.compile(r'^  File "([^"]*)", line (\d+) in (\S+)', re.MULTILINE)
OURS = re.compile(r".*/miniwsgi/daemon/.*|.*/threading\.py")
LIBRARIES = re.compile(r".*/(lib/python[0-9.]+|miniwsgi/daemon|site-packages|dist-packages)/.*")
WAITING = {"_park", "_watch", "_run", "wait"}  # in which a thread of ours that has nothing to do is found


def lines(found: messages.Stack, *, every: bool = False) -> list[str]:
    """What `stack` prints; `every` thread, or those that wait for work folded."""
    shown = [f"# worker {found.slot}, pid {found.pid}, at {text.clock(found.taken_at)}"]
    for request in sorted(found.in_flight, key=lambda request: request.thread):
        said = f"{request.method} {request.path}"
        if f"{RUNS}{said} " not in found.text:  # in a process of its own, or begun meanwhile
            shown.append(text.clean(f"# thread {request.thread} runs {said} for ") + text.seconds(request.age_seconds))
    return [*shown, text.clean(found.text if every else folded(found.text), lines=True)]


def folded(stacks: str) -> str:
    """The stacks without those of threads that wait for work, which are counted."""
    threads = stacks.split("\n\n")
    busy = [thread for thread in threads if not is_idle(thread)]
    if len(threads) - len(busy) > 1:
        busy.append(f"# {len(threads) - len(busy)} threads wait for work (-o wide shows them)")
        return "\n\n".join(busy)
    return stacks


def is_idle(thread: str) -> bool:
    """Whether it is one of the server's own that has nothing to do, as its frames say."""
    frames = FRAME.findall(thread)
    if not frames or RUNS in thread or not all(OURS.fullmatch(file) for file, _line, _function in frames):
        return False
    _file, _line, innermost = frames[0]
    return innermost.rpartition(".")[2] in WAITING


def places(found: messages.Stack) -> dict[str, list[str]]:
    """Where each request is, such as "GET /x": the application's innermost line. Several threads may run the same."""
    known: dict[str, list[str]] = {}
    for thread in found.text.split("\n\n"):
        _heading, runs, rest = thread.partition(RUNS)
        frames = FRAME.findall(rest)
        if runs and frames:
            asked = " ".join(rest.partition("\n")[0].split(" ")[:2])
            file, line, function = next((frame for frame in frames if not LIBRARIES.match(frame[0])), frames[0])
            known.setdefault(asked, []).append(f"{_short(file)}:{line} in {function}")
    return known


def _short(file: str) -> str:
    """Its last two parts: enough to know it."""
    return "/".join(file.split("/")[-2:])
