"""The comparison: every server under every workload, side by side, on this machine.

    python bench/run.py [--servers NAME …] [--workloads NAME …] [--rounds 3] [--seconds 1] [--json FILE] [--quick]
    python bench/run.py --targets --screen 2 --rounds 7
    python bench/run.py --list
    python bench/run.py --compare OLD.json [--with NEW.json]
    python bench/run.py --report FILE …

A whole run, and one of all that has a target, write bench/results/<date>-<machine>.json, bench/RESULTS.md, the plots
and the tables of README.md and docs/benchmarks.md; one of chosen servers or workloads, and the quick one, print what
they found and write only the file that --json names. The server is on one
core and the load on another; each server is started afresh, must answer rightly before it is timed, and is compared
with the others of the same round. Interrupted, it keeps what it has and leaves no process behind.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

if not __package__:  # run as a script: its own directory would hide other modules, the repository's root does not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import peers
from bench.document import Document, DocumentError
from bench.figures import median
from bench.floor import compile_floor
from bench.merge import merged
from bench.operations import Operation, idle_connections
from bench.peer_servers import SERVERS
from bench.plan import OPERATIONS, OTHERS_ROUNDS, chosen_operations, chosen_workloads, steps
from bench.processes import become_reaper, choose_cpus, stop_all
from bench.progress import spoken, with_progress
from bench.promises import all_verdicts, targets_as_json
from bench.report import machine, print_figures, print_targets, standard_path, tool_version, write_json
from bench.results_file import FORMAT, Results
from bench.screening import Screening, taking_part, with_the_screened
from bench.servers import OURS, Kind, Programs
from bench.steps import RATE_SHARE
from bench.trial import Bench
from bench.workloads import WORKLOADS, Workload

HERE = Path(__file__).resolve().parent
QUIET = 0.1  # of a core for all other processes
WARM_UP, QUICK_WARM_UP = 0.5, 0.3  # seconds before each figure
FRAMEWORKS = ("flask", "django")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 nothing could be measured, 2 usage, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print_known()
        return 0
    if options.with_ is not None and options.compare is None:
        parser.error("--with is for --compare")
    old = _read(parser, options.compare) if options.compare else None
    if old is not None and options.with_ is not None:
        print(_compare(old, _read(parser, options.with_)))
        return 0
    if options.report:
        return _report(parser, options)
    chosen = {"quick": options.quick, "targets": options.targets}
    workloads = chosen_workloads(options.servers, options.workloads, **chosen)
    operations = []
    if not options.no_operations:
        operations = chosen_operations(options.servers, options.workloads, **chosen)
    if options.json and not os.access(options.json.resolve().parent, os.W_OK):
        parser.error(f"{options.json}: its folder is not there, or not writable")
    if not workloads and not operations:
        parser.error("none of these servers takes part in any of these workloads")
    document = measure(options, workloads, operations)
    return _finish(options, document, old)


def measure(
    options: argparse.Namespace, workloads: Sequence[Workload], operations: Sequence[Operation]
) -> dict[str, Any]:
    """Carry out the run; the results file's content, of what was reached."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    become_reaper()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # servers inherit it
    started, begin = datetime.now(UTC), time.monotonic()
    results, screened, interrupted = Results(), Results(), False
    bench: Bench | None = None
    screening = _screening(options)
    with tempfile.TemporaryDirectory(prefix="miniwsgi-bench-") as scratch:
        try:
            bench = _bench(options, workloads, operations, Path(scratch))
            going_on = screening.run(bench, workloads, screened) if screening else workloads
            todo = steps(
                going_on,
                operations,
                options.rounds,
                bench,
                system_calls=not options.no_syscalls,
                others_rounds=OTHERS_ROUNDS if options.targets else None,
            )
            for step in with_progress(todo):
                step.run(bench, results)
            if screening is not None:
                workloads = taking_part(workloads, going_on)
        except KeyboardInterrupt:
            interrupted = True
            print("\ninterrupted: what was measured so far", file=sys.stderr)
        except Exception:  # a mistake of ours: hours of figures are not lost to it
            interrupted = True
            traceback.print_exc()
        finally:
            _ignore_interrupts()
            stop_all()
    with_the_screened(results, screened)
    idle_connections(results)
    document = {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "took_seconds": round(time.monotonic() - begin, 1),
        "interrupted": interrupted,
        "machine": machine(),
        **(_about(options, bench, workloads, operations) if bench else {}),
        **results.as_json(),
        "screening": screened.as_json()["cells"],
    }
    document["targets"] = targets_as_json(all_verdicts(document))
    return document


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Results of several runs as those of one; the exit status."""
    try:
        document = merged([_read(parser, path) for path in options.report])
        document["targets"] = targets_as_json(verdicts := all_verdicts(document))
    except DocumentError as error:
        parser.error(str(error))
    print_targets(verdicts, "Targets")
    write_json(path := options.json or standard_path(HERE / "results", document), document)
    print(f"written: {path}")
    if not options.json:
        _publish(document)
    return 0


def print_known() -> None:
    """The servers and workloads, on standard output."""
    print("servers:")
    for server in SERVERS.values():
        print(f"  {server.name:24} {server.kind.value:6} {server.what}")
    print("workloads:")
    for workload in WORKLOADS.values():
        print(f"  {workload.name:24} {workload.what} ({len(workload.servers)} servers)")
    print("operations:")
    for name, operation in OPERATIONS.items():
        print(f"  {name:24} {(operation.__doc__ or '').splitlines()[0]} ({', '.join(operation.servers)})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def one_of(kind: str, names: Sequence[str]) -> Callable[[str], str]:
        def known(name: str) -> str:
            if name not in names:
                raise argparse.ArgumentTypeError(f"unknown {kind} {name!r}; known are {', '.join(names)}")
            return name

        return known

    def positive(text: str) -> float:
        if not (value := float(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0")
        return value

    def whole(text: str) -> int:
        if (value := int(text)) < 1:
            raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
        return value

    server = one_of("server", list(SERVERS))
    workload = one_of("workload", [*WORKLOADS, *OPERATIONS])
    parser.add_argument("--servers", nargs="+", type=server, metavar="NAME", help="only these; see --list")
    parser.add_argument(
        "--workloads", nargs="+", type=workload, metavar="NAME", help="only these or operations; see --list"
    )
    parser.add_argument("--rounds", type=whole, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=positive, default=1.0, help="of load for each figure (default 1)")
    parser.add_argument("--quick", action="store_true", help="what has a target, beside few peers; a few minutes")
    parser.add_argument("--targets", action="store_true", help="what has a target, beside all peers")
    parser.add_argument(
        "--screen", type=whole, metavar="ROUNDS", help="short rounds of all peers first: the best go on"
    )
    parser.add_argument("--best", type=whole, default=2, help="peers of each workload that go on (default 2)")
    parser.add_argument("--no-operations", action="store_true", help="no cold start, scale, reload, …")
    parser.add_argument("--no-syscalls", action="store_true", help="do not count system calls")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, and nothing else")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="then say what changed beyond the noise")
    parser.add_argument("--with", dest="with_", type=Path, metavar="NEW.json", help="compare with that; no run")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="make one of these results; no run")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the peers (one is made otherwise)")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has miniwsgi (this one)")
    parser.add_argument("--list", action="store_true", help="the known servers and workloads")
    return parser


def _read(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{path}: {error}")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        parser.error(f"{path}: no results of format {FORMAT}")
    return found


def _bench(
    options: argparse.Namespace, workloads: Sequence[Workload], operations: Sequence[Operation], scratch: Path
) -> Bench:
    names = _server_names(workloads, operations)
    packages = dict.fromkeys(
        package
        for name in names
        for package in (SERVERS[name].package, *SERVERS[name].needs)
        if package not in ("", OURS)
    )
    if any(workload.framework for workload in workloads):
        packages.update(dict.fromkeys(FRAMEWORKS))
    try:
        environment = peers.inspect(options.peers, packages) if options.peers else peers.prepare(packages)
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"no environment for the peers: {error}") from error
    server_cpus, load_cpus = choose_cpus()
    floor = compile_floor(scratch) if any(SERVERS[name].kind is Kind.FLOOR for name in names) else {}
    programs = Programs(os.path.abspath(options.python), environment.python, floor)
    warm_up = QUICK_WARM_UP if options.quick or options.targets else WARM_UP
    return Bench(programs, environment, scratch, options.seconds, warm_up, server_cpus, load_cpus)


def _screening(options: argparse.Namespace) -> Screening | None:
    return Screening(options.screen, options.best, min(options.seconds, 0.5)) if options.screen else None


def _about(
    options: argparse.Namespace, bench: Bench, workloads: Sequence[Workload], operations: Sequence[Operation]
) -> dict[str, Any]:
    """What took part, and how."""
    tools = {
        "nginx": tool_version("nginx", "-v", r"nginx/([\d.]+)"),
        "Python of the peers": bench.environment.python_version,
    }
    return {
        "versions": {
            "miniwsgi": _our_version(bench.programs.ours),
            **bench.environment.versions,
            **{name: version for name, version in tools.items() if version},
        },
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "warm_up": bench.warm_up,
            "connections": WORKLOADS["hello"].connections,
            "quick": options.quick,
            "screening": asdict(screening) if (screening := _screening(options)) else None,
            "server_cpus": bench.server_cpus,
            "load_cpus": bench.load_cpus,
            "rate_share": RATE_SHARE,
            "others": round(median(bench.others) or 0.0, 3),
        },
        "servers": [
            {
                "name": name,
                "kind": SERVERS[name].kind.value,
                "package": SERVERS[name].package,
                "what": SERVERS[name].what,
                "command": bench.commands.get(name, ""),
                "missing": bench.missing(name),
            }
            for name in _server_names(workloads, operations)
        ],
        "workloads": [
            {
                "name": workload.name,
                "what": workload.what,
                "path": workload.exchange.path,
                "connections": workload.connections,
                "threads": workload.threads,
                "workers": workload.workers,
                "servers": list(workload.servers),
            }
            for workload in workloads
        ],
    }


def _server_names(workloads: Sequence[Workload], operations: Sequence[Operation]) -> list[str]:
    """In the order in which they are listed."""
    wanted = {name for workload in workloads for name in workload.servers}
    wanted.update(name for operation in operations for name in operation.servers)
    return [name for name in SERVERS if name in wanted]


def _our_version(python: str) -> str:
    ask = "import miniwsgi.daemon as d; print(d.__version__)"
    asked = subprocess.run([python, "-c", ask], check=False, capture_output=True, text=True)
    return asked.stdout.strip() or "?"


def _finish(options: argparse.Namespace, document: dict[str, Any], old: dict[str, Any] | None) -> int:
    """Print and write what was found; the exit status."""
    chosen = bool(options.quick or options.servers or options.workloads or options.no_operations)
    whole = not (chosen or options.json or document["interrupted"])
    host, settings = document["machine"], document.get("settings", {})
    verdicts = all_verdicts(document)
    title = (
        f"{options.rounds} rounds of {options.seconds:g} s · {host['cpu']}, {host['cores']} cores,"
        f" Linux {host['kernel']} · took {spoken(document['took_seconds'])}"
    )
    if not whole:
        print_figures(document, title)
    print_targets(verdicts, "Targets" if not whole else f"Targets · {title}")
    if (busy := settings.get("others", 0.0)) > QUIET:
        print(f"The machine was not quiet: others used {busy:.0%} of a core. Figures are worth little.")
    if (engine := Document(document).engine) not in ("", "compiled"):
        print(f"miniwsgi ran with its {engine} engine: make engine")
    if not settings.get("server_cpus"):
        print("Nothing was pinned: server and load shared their cores.")
    if options.json or not chosen:
        path = options.json or standard_path(HERE / "results", document)
        write_json(path, document)
        print(f"written: {path}")
    if whole:
        _publish(document)
    if old is not None:
        print(_compare(old, document))
    if document["interrupted"]:
        return 130
    return 0 if any(cell["rounds"] for cell in document["cells"]) or document["operations"] else 1


def _publish(document: dict[str, Any]) -> None:
    """The page, its plots, and the tables elsewhere. The plots come first: the page links those that are there."""
    for stale in (HERE / "results").glob("*.[sp][vn]g"):  # of another run: the page would link it
        stale.unlink()
    try:
        plots = importlib.import_module("bench.plots")
        plots.draw(document, HERE / "results")
    except ImportError as error:
        print(f"no plots: {error} (pip install matplotlib)", file=sys.stderr)
    from bench.published import publish
    from bench.tables import write_markdown

    write_markdown(document, HERE / "RESULTS.md")
    for path in (HERE / "RESULTS.md", *publish(document, HERE.parent)):
        print(f"written: {path}")


def _compare(old: dict[str, Any], new: dict[str, Any]) -> str:
    from bench.compare import compare

    return compare(old, new)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: what follows tidies up, and is not to be interrupted."""
    _ignore_interrupts()
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(main())
