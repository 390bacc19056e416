"""`profile` and `memory`: looking into workers that run."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click
import msgspec
from miniwsgi.codes import Code

from ... import messages
from .. import text
from ..client import TransportError, Trouble
from ..exit_statuses import EXIT_STATUSES, Complaint, ExitStatus, complaint
from ..options import ControlCommand, Session, duration, out_of_time, slot_argument, slots_argument

if TYPE_CHECKING:
    from ..profiles.formats import Format
    from ..profiles.profile import Clock, Profile

STDOUT = "-"
FORMATS = ("flame", "speedscope", "collapsed")


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl profile
      ten seconds of all workers, into a page of HTML beside you
  miniwsgictl profile 3 --seconds 30 --cpu
  miniwsgictl profile --route '/orders/<id>' --file slow.html
  miniwsgictl profile --format collapsed --file - | less

{EXIT_STATUSES}""",
)
@slots_argument()
@click.option(
    "--seconds", "-d", metavar="SECONDS", callback=duration(0.1, messages.MAX_PROFILE_SECONDS), default="10",
    help="How long. Ctrl-C ends it before: what was seen is written. [default: 10]",
)  # fmt: skip
@click.option(
    "--rate", metavar="N", type=click.IntRange(1, messages.MAX_PROFILE_RATE), default=100,
    help="Looks a second; where there is much to look at, there are fewer. [default: 100]",
)  # fmt: skip
@click.option("--route", "-r", metavar="ROUTE", help="Only threads that run a request of this route.")
@click.option(
    "--wall/--cpu", "wall", default=True,
    help="What counts: the time that passes, or that on the CPU alone. [default: --wall]",
)  # fmt: skip
@click.option("--function", "-F", is_flag=True, help="Take all lines of a function together.")
@click.option(
    "--format", "-f", "format_", metavar="|".join(FORMATS), type=click.Choice(FORMATS),
    help="flame: a page of HTML. speedscope: JSON for speedscope.app. collapsed: text for flamegraph.pl and its like. "
    "[default: by the file's name, else flame]",
)  # fmt: skip
@click.option(
    "--file", metavar="FILE", type=click.Path(dir_okay=False),
    help="Where it is written; what was there is replaced. -: standard output. [default: profile-DATE-TIME.html]",
)  # fmt: skip
@click.pass_obj
def profile(
    session: Session, slots: tuple[int, ...], seconds: float, rate: int, route: str | None, wall: bool,
    function: bool, format_: str | None, file: str | None,
) -> None:  # fmt: skip
    """Show where the threads of workers spend their time.

    All workers that serve, or those in SLOT…, are looked at so many times a second, from inside: no ptrace, no
    restart, and what hangs is seen, too. Threads of miniwsgi that wait for work are left out. A summary is printed,
    and the whole written to FILE.
    """
    from ..profiles.formats import Format, written
    from ..profiles.profile import Clock, Profile
    from ..views import profile_view

    clock = Clock.WALL if wall else Clock.CPU
    format = Format(format_) if format_ else Format.of(file or "")
    path = file or f"profile-{time.strftime('%Y%m%d-%H%M%S')}{format.suffix}"
    if session.json and path == STDOUT:
        raise click.UsageError("-o json prints a summary: name another --file for the profile")
    _check_writable(path)
    found = Profile(by_function=function)
    request = messages.ProfileRequest(slots=list(slots), seconds=seconds, rate=rate, route=route)
    progress = _Progress(session, seconds)
    lost = None
    with session.client() as client:
        looks = client.profile(request)
        try:
            for line in looks:
                found.add(line)
                progress.show(found)
        except KeyboardInterrupt:
            pass  # what was seen is there
        except TransportError as error:
            lost = out_of_time() if error.trouble is Trouble.LATE else complaint(error, session.path)
            if not found.samples:
                raise lost from None
            # told when what was seen is written
        finally:
            progress.end()
    notes = profile_view.notes(found, clock)
    if not found.total_ns(clock):
        raise Complaint(ExitStatus.FAILED, Code.NOTHING_SEEN, "\n".join([_nothing(found, route, clock), *notes]))
    title = f"Profile of {_whose(found)}: {found.seconds:.1f} s at {rate} Hz"
    # First what takes no room: the file's failing does not lose it.
    if session.json:
        session.echo_json(msgspec.json.encode(profile_view.summary(found, clock, path)))
    else:
        for said in profile_view.lines(found, clock, session):
            click.echo(said, err=path == STDOUT)
    for note in notes:
        session.note(note)
    replaces = os.path.isfile(path)
    _write(path, written(found, clock, format, rate, title))
    if path != STDOUT:
        session.note(f"written: {path}{', in place of what was there' if replaces else ''}{_how_to_see(format)}")
    if lost is not None:
        raise lost


class _Progress:
    """How far it is, on a terminal, twice a second."""

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def show(self, found: Profile) -> None:
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + 0.5
            looks = text.count(sum(seen.looks for seen in found.workers.values()), "look")
            workers = text.count(len(found.workers), "worker")
            self._session.progress(f"{workers}, {found.seconds:.0f} of {self._seconds:.0f} s, {looks}; Ctrl-C ends it")

    def end(self) -> None:
        if self._shown and self._next:
            self._session.progress()


def _whose(found: Profile) -> str:
    slots = sorted(slot for slot, seen in found.workers.items() if seen.looks)
    return f"worker {slots[0]}" if len(slots) == 1 else text.count(len(slots), "worker")


def _nothing(found: Profile, route: str | None, clock: Clock) -> str:
    if not found.workers:
        return "no worker serves: there is nothing to look at; miniwsgictl status says why"
    if not any(seen.looks for seen in found.workers.values()):
        return "no worker could be looked at; nothing is written"
    if route is not None:
        return f"no thread was seen running a request of the route {route}; nothing is written"
    if found.samples:
        return (
            f"no {clock.noun} was seen, though threads were at work: see --wall, or a higher --rate; nothing is written"
        )
    return f"no thread was seen at work ({clock.noun}): the workers were idle; nothing is written"


def _check_writable(path: str) -> None:
    """Before all the looking. Raises Complaint."""
    directory = os.path.dirname(path) or "."
    if path != STDOUT and not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise Complaint(
            ExitStatus.FAILED, Code.OUTPUT_NOT_WRITTEN, f"{path} cannot be written: name another file with --file"
        )


def _write(path: str, content: bytes) -> None:
    """Raises Complaint."""
    if path == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    try:
        with open(path, "wb") as file:
            file.write(content)
    except OSError as error:
        raise Complaint(
            ExitStatus.FAILED, Code.OUTPUT_NOT_WRITTEN, f"{path} cannot be written: {error.strerror}"
        ) from None


def _how_to_see(format: Format) -> str:
    return {"flame": " (open it in a browser)", "speedscope": " (open it in https://www.speedscope.app)"}.get(
        format.value, ""
    )


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl memory 3
  miniwsgictl memory 3 --for 60s --diff
      what has grown in a minute, and where that was allocated

{EXIT_STATUSES}""",
)
@slot_argument()
@click.option(
    "--for", "seconds", metavar="TIME", callback=duration(0.1, messages.MAX_PROFILE_SECONDS), default=None,
    help="Trace what is allocated meanwhile (tracemalloc), and show the lines whose memory is still held. Allocations "
    "take two or three times as long until it is over. [default: one look; with --diff 60s]",
)  # fmt: skip
@click.option("--diff", is_flag=True, help="Look at the beginning, too, and show what has grown.")
@click.option(
    "--pause", "pause", metavar="TIME", callback=duration(0.001, messages.MAX_PAUSE_SECONDS), default="20ms",
    help="How long the worker may be held up for it in a row; what would take longer is left out. [default: 20ms]",
)  # fmt: skip
@click.pass_obj
def memory(session: Session, slot: int, seconds: float | None, diff: bool, pause: float) -> None:
    """Show what the memory of a worker holds.

    By kind, as the kernel sums it up; the most frequent types of objects; and with --for, where memory was allocated
    that is still held.
    """
    from ..views import memory_view

    if seconds is None:
        seconds = 60.0 if diff else 0.0
    session.check_time_for(seconds, "--for")
    request = messages.MemoryRequest(seconds=seconds, diff=diff, pause_seconds=pause)
    with session.client() as client:
        reply = client.memory(slot, request)
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(memory_view.lines(reply.value, session)))
