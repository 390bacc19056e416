"""The quick comparison: is miniwsgi as fast and as small as it is meant to be, beside its peers?

    python bench/quick.py [--rounds 3] [--seconds 2] [--only hello mixed …] [--json FILE] [--peers PYTHON]

One worker, `wrk -t1 -c64`; the server on one core and the load on another; every server is started afresh,
must answer rightly before it is timed, and is compared with peers of the same round. Interrupted, it prints
what it has and leaves no process behind.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

if not __package__:  # run as a script: its own directory would hide other modules, the repository's root does not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import peers
from bench.experiments import QUIET, Experiment
from bench.figures import Row, Verdict, median
from bench.processes import become_reaper, choose_cpus, stop_all
from bench.report import machine, print_table, write_json
from bench.servers import SERVERS
from bench.suite import quick
from bench.trial import Bench


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 nothing could be measured, 2 usage, 130 interrupted."""
    experiments = quick()
    options = _parser(list(experiments)).parse_args(arguments)
    chosen = [experiments[name] for name in experiments if name in (options.only or experiments)]
    signal.signal(signal.SIGTERM, _interrupt)
    become_reaper()
    environment = _peers(options.peers, chosen)
    ours = _version_of_ours(options.python)
    server_cpus, load_cpus = choose_cpus()
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="miniwsgi-bench-") as scratch:
        bench = Bench(
            options.python,
            environment,
            Path(scratch),
            options.seconds,
            server_cpus=server_cpus,
            load_cpus=load_cpus,
        )
        try:
            _rounds(bench, chosen, options.rounds)
        except KeyboardInterrupt:
            interrupted = True
            print("\ninterrupted: what was measured so far", file=sys.stderr)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stop_all()
    rows = [row for experiment in chosen for row in experiment.rows()]
    about = _about(environment, ours, options, bench)
    print_table(rows, about["title"])
    for line in about["remarks"]:
        print(line)
    print(_summary(rows))
    if options.json:
        samples = {experiment.name: experiment.raw() for experiment in chosen}
        write_json(options.json, {**about, "rows": [row.as_json() for row in rows], "samples": samples})
    if interrupted:
        return 130
    return 0 if any(row.value is not None for row in rows) else 1


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/quick.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def known(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"unknown name {name!r}; known are {', '.join(names)}")
        return name

    def positive(text: str) -> float:
        if not (value := float(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0")
        return value

    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=positive, default=2, help="of load for each figure (default 2)")
    parser.add_argument("--only", nargs="+", type=known, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and samples there")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the peers installed")
    parser.add_argument(
        "--python", default=sys.executable, metavar="PYTHON", help="interpreter that has miniwsgi (this one)"
    )
    return parser


def _peers(python: str | None, chosen: Sequence[Experiment]) -> peers.Environment:
    servers = [SERVERS[name] for name in dict.fromkeys(n for e in chosen for n in e.servers)]
    packages = list(dict.fromkeys(server.package for server in servers if server.package != "miniwsgi"))
    modules = [server.optional for server in servers if server.optional]
    return peers.inspect(python, packages, modules) if python else peers.prepare(packages, modules)


def _version_of_ours(python: str) -> tuple[str, str]:
    """Our version and its Python's; a hint at once when that interpreter does not have us."""
    ask = "import platform; print(platform.python_version()); import miniwsgi.daemon as d; print(d.__version__)"
    asked = subprocess.run([python, "-c", ask], check=False, capture_output=True, text=True)
    if asked.returncode:
        print(f"{python} has no miniwsgi: its rows will be void", file=sys.stderr)
    version, ours, *_ = [*asked.stdout.split(), "?", "?"]
    return ours, version


def _rounds(bench: Bench, chosen: Sequence[Experiment], rounds: int) -> None:
    begin = time.monotonic()
    for number in range(rounds):
        for experiment in chosen:
            for server in experiment.turn(number):
                elapsed = time.monotonic() - begin
                print(
                    f"[{elapsed:4.0f} s] round {number + 1}/{rounds} {experiment.name}: {server}",
                    file=sys.stderr,
                    flush=True,
                )
                experiment.attempt(bench, server, number)


def _about(
    environment: peers.Environment, ours: tuple[str, str], options: argparse.Namespace, bench: Bench
) -> dict[str, Any]:
    host = machine()
    versions = {"miniwsgi": ours[0], **environment.versions}
    remarks = [
        "Rates are medians of interleaved rounds; ratios are medians of the rounds' own ratios.",
        f"Peers run on Python {environment.python_version}, miniwsgi on {ours[1]}.",
    ]
    if "gunicorn" in environment.versions:
        parser = "the C parser gunicorn_h1c" if "gunicorn_h1c" in environment.modules else "its Python parser"
        remarks.append(f"gunicorn uses {parser}.")
    if (busy := median(bench.others) or 0.0) > QUIET:
        remarks.append(f"The machine was not quiet: others used {busy:.0%} of a core. Figures are worth little.")
    if not bench.server_cpus:
        remarks.append("Only one core: server and load share it, so that no figure here is worth much.")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    title = (
        f"{options.rounds} rounds of {options.seconds:g} s · {host['cpu']}, {host['cores']} cores,"
        f" Linux {host['kernel']} · {listed}"
    )
    return {"title": title, "remarks": remarks, "machine": host, "versions": versions}


def _summary(rows: Sequence[Row]) -> str:
    held = [row for row in rows if row.target]
    count = {verdict: sum(row.verdict is verdict for row in held) for verdict in Verdict}
    met, missed, void = count[Verdict.MET], count[Verdict.MISSED], count[Verdict.VOID]
    return f"{len(held)} targets: {met} met, {missed} missed, {void} void"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
