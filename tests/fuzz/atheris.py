"""The properties under coverage guidance: `python -m tests.fuzz.atheris --target head --seconds 300`.

Each target runs in a process of its own (libFuzzer ends it), as many at once as `--jobs` says; the seconds are of the
whole run. An input that breaks a property is made smaller and added to the corpus, which the tests replay.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT_BYTES = 4096
SLOW_SECONDS = 10  # for one input: more is a defect of its own
OVER_SECONDS = 120.0  # what a target may take beyond its time, on a machine that is busy

_FINAL = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_RATE = re.compile(r"stat::average_exec_per_sec:\s+(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """What a target's run came to; `findings` are the inputs that broke the property."""

    target: str
    inputs: int
    a_second: int
    coverage: int  # edges of the parser's code
    features: int
    corpus: int
    peak_mb: int
    findings: tuple[bytes, ...]
    output: str


def corpus(target: str, directory: Path = CORPUS) -> list[bytes]:
    """The inputs that are kept for a target: one a line, as Python writes bytes; lines with # are comments."""
    path = directory / f"{target}.txt"
    if not path.exists():
        return []
    lines = path.read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def keep(target: str, data: bytes, why: str, directory: Path) -> Path:
    """Add an input to those that are replayed, with what was wrong."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{target}.txt"
    with path.open("a", encoding="ascii") as file:
        file.write(f"# {ascii(why)[1:-1][:200]}\n{data!r}\n")
    return path


def installed() -> bool:
    return importlib.util.find_spec("atheris") is not None


def guide(target: str, arguments: Sequence[str]) -> None:
    """Fuzz one target in this process with libFuzzer's arguments; does not return."""
    import atheris

    with atheris.instrument_imports(
        include=[
            "miniwsgi.daemon.http",
            "miniwsgi.daemon.engine.uwsgi",
            "miniwsgi.daemon.engine.openings.proxy_protocol",
        ],
        enable_loader_override=False,
    ):
        import miniwsgi.daemon.http.connection
        import miniwsgi.daemon.http.response  # noqa: F401
    from tests.fuzz.properties import PROPERTIES

    atheris.Setup([sys.argv[0], *arguments], PROPERTIES[target])
    atheris.Fuzz()


class Run:
    """A target being fuzzed in a process of its own."""

    def __init__(self, target: str, seconds: int, seed: int, directory: Path) -> None:
        from tests.fuzz.properties import seeds

        self.target = target
        self._artifacts = directory / f"{target}-findings"
        grown = directory / f"{target}-corpus"
        given = directory / f"{target}-seeds"
        for folder in (self._artifacts, grown, given):
            folder.mkdir()
        for data in seeds(target):
            (given / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        for data in corpus(target):
            (given / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        self._output = directory / f"{target}.log"
        self._deadline = time.monotonic() + seconds + OVER_SECONDS
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "tests.fuzz.atheris", "--guide", target, "--",
                    f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_INPUT_BYTES}",
                    f"-timeout={SLOW_SECONDS}", "-print_final_stats=1", f"-artifact_prefix={self._artifacts}/",
                    str(grown), str(given),
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def result(self) -> Result:
        """Wait for its end."""
        try:
            self.process.wait(max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        output = self._output.read_text("utf-8", "replace")
        progress = _COVERAGE.findall(output)
        coverage, features, corpus = map(int, progress[-1]) if progress else (0, 0, 0)
        return Result(
            self.target, _number(_FINAL, output), _number(_RATE, output), coverage, features, corpus,
            _number(_PEAK, output), tuple(path.read_bytes() for path in sorted(self._artifacts.iterdir())), output,
        )  # fmt: skip


def _number(pattern: re.Pattern[str], output: str) -> int:
    found = pattern.search(output)
    return int(found[1]) if found else 0


def fuzz(targets: Sequence[str], seconds: int, seed: int, jobs: int) -> list[Result]:
    """All targets, each for its share of the time."""
    rounds = -(-len(targets) // jobs)
    share = max(1, seconds // rounds)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="miniwsgi-fuzz-") as directory:
        for at in range(0, len(targets), jobs):
            runs = [Run(target, share, seed, Path(directory)) for target in targets[at : at + jobs]]
            try:
                results += [run.result() for run in runs]
            finally:
                for run in runs:
                    run.process.kill()
                    run.process.wait()
    return results


def smaller(target: str, data: bytes) -> tuple[bytes, str]:
    """An input that broke a property, made smaller while it breaks it in the same way; and how."""
    from tests.fuzz.minimise import minimised
    from tests.fuzz.properties import PROPERTIES

    def failure(candidate: bytes) -> Exception | None:
        try:
            PROPERTIES[target](candidate)
        except Exception as error:
            return error
        return None

    first = failure(data)
    if first is None:
        return data, "slow, out of memory, or not the same twice"
    data = minimised(data, lambda candidate: type(failure(candidate)) is type(first))
    error = failure(data)
    return data, f"{type(error).__name__}: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every property held, 1 when not, 2 when nothing was fuzzed."""
    from tests.fuzz.properties import PROPERTIES

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.atheris", description=__doc__.partition("\n")[0])
    parser.add_argument("--target", choices=["all", *PROPERTIES], default="all")
    parser.add_argument("--seconds", type=int, default=300, help="of the whole run")
    parser.add_argument("--seed", type=int, default=1, help="0: another each time")
    parser.add_argument("--jobs", type=int, default=2, help="targets at once")
    parser.add_argument(
        "--findings", type=Path, default=CORPUS, help="directory: where inputs that break a property are kept"
    )
    options = parser.parse_args(arguments)
    if not installed():
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    targets = list(PROPERTIES) if options.target == "all" else [options.target]
    results = fuzz(targets, options.seconds, options.seed, options.jobs)
    print(f"{'target':10} {'inputs':>9} {'a second':>9} {'edges':>7} {'features':>9} {'corpus':>7} {'peak MB':>8}")
    good = True
    for result in results:
        print(
            f"{result.target:10} {result.inputs:9} {result.a_second:9} {result.coverage:7} {result.features:9} "
            f"{result.corpus:7} {result.peak_mb:8}"
        )
        if not result.inputs:
            good = False
            print(result.output[-3000:])
        for finding in result.findings:
            good = False
            data, why = smaller(result.target, finding)
            path = keep(result.target, data, why, options.findings)
            print(f"    {data!r}\n    {why}\n    kept as {path}")
    print(f"{'all':10} {sum(result.inputs for result in results):9}")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--guide"]:
        guide(sys.argv[2], sys.argv[4:])
    sys.exit(main())
