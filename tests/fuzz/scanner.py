"""The compiled engine's scanner under coverage guidance: `python -m tests.fuzz.scanner --seconds 3600`.

clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer run promises.h (tests/support/scan) in one process.
Inputs that break a promise are made smaller and kept in `corpus/scan.txt`, which the unit tests replay. `--keep` makes
that file anew, of the fewest inputs that reach all that this run and the ones before it have reached.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.support.programs import which
from tests.support.scanning import build

from .atheris import CORPUS, OVER_SECONDS, SLOW_SECONDS, corpus, keep
from .minimise import minimised
from .mutations import SEEDS

NAME = "scan"
DICTIONARY = Path(__file__).with_name("scan.dict")
MAX_INPUT_BYTES = 2048
MAX_CORPUS_BYTES = 250_000  # of corpus/scan.txt
SANITIZERS = ("-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")

_FIGURES = {
    "executions": re.compile(r"stat::number_of_executed_units:\s+(\d+)"),
    "a second": re.compile(r"stat::average_exec_per_sec:\s+(\d+)"),
    "peak MB": re.compile(r"stat::peak_rss_mb:\s+(\d+)"),
    "edges": re.compile(r"cov: (\d+) "),
    "features": re.compile(r"ft: (\d+) "),
    "inputs": re.compile(r"corp: (\d+)/"),
}


class Fuzzer:
    """The program, and directories for what it is given and what it finds."""

    def __init__(self, directory: Path, clang: str) -> None:
        self._program = build("fuzzer.c", directory / "fuzzer", *SANITIZERS, using=clang)
        self._given, self.grown, self._findings = (directory / name for name in ("given", "grown", "findings"))
        for folder in (self._given, self.grown, self._findings):
            folder.mkdir()
        write(self._given, (*SEEDS, *corpus(NAME)))

    def run(self, seconds: int, seed: int) -> dict[str, int]:
        """Fuzz; the figures at the end. RuntimeError: it has not run."""
        arguments = [
            f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_INPUT_BYTES}", f"-timeout={SLOW_SECONDS}",
            f"-dict={DICTIONARY}", "-print_final_stats=1", f"-artifact_prefix={self._findings}/",
        ]  # fmt: skip
        output = self._call(*arguments, str(self.grown), str(self._given), seconds=seconds + OVER_SECONDS)
        found = {name: pattern.findall(output) for name, pattern in _FIGURES.items()}
        figures = {name: int(numbers[-1]) for name, numbers in found.items() if numbers}
        if not figures.get("executions") and not self.findings():
            raise RuntimeError(output[-3000:])
        return figures

    def findings(self) -> list[bytes]:
        """The inputs that broke a promise."""
        return [path.read_bytes() for path in sorted(self._findings.iterdir())]

    def broken(self, data: bytes) -> str:
        """What the input breaks, "" for nothing."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            output = self._call(file.name, seconds=OVER_SECONDS)
        found = re.search(r"(broken: .*|runtime error: .*|ERROR: \w+: [\w-]+)", output)
        return found[1] if found else ""

    def fewest(self) -> list[bytes]:
        """The fewest inputs, of those that it had and those that it found, that reach the same; the smallest first."""
        merged = self.grown.with_name("merged")
        merged.mkdir()
        self._call("-merge=1", str(merged), str(self._given), str(self.grown), seconds=600)
        return sorted((path.read_bytes() for path in merged.iterdir()), key=lambda data: (len(data), data))

    def _call(self, *arguments: str, seconds: float) -> str:
        done = subprocess.run(
            [self._program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=seconds, cwd=self.grown.parent,
        )  # fmt: skip
        return done.stdout.decode("utf-8", "replace")


def write(directory: Path, inputs: Iterable[bytes]) -> None:
    """Each in a file of its own, as libFuzzer has it."""
    for data in inputs:
        (directory / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def keep_corpus(inputs: Iterable[bytes], path: Path) -> None:
    """Make the file anew: those that are not among the tables' bytes anyway, as many as there is room for."""
    lines = ["# Found by the coverage-guided fuzzer, and made the fewest by it: each reaches what the others do not."]
    size = 0
    for data in inputs:
        line = repr(data)
        size += len(line) + 1
        if size > MAX_CORPUS_BYTES:
            break
        if data not in SEEDS:
            lines.append(line)
    path.write_text("\n".join(lines) + "\n", "ascii")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every promise held, 1 when not, 2 without clang."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.scanner", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="0: another each time")
    parser.add_argument("--keep", action="store_true", help="make corpus/scan.txt anew")
    parser.add_argument(
        "--findings", type=Path, default=CORPUS, help="directory: where inputs that break a promise are kept"
    )
    options = parser.parse_args(arguments)
    clang = which("clang")
    if clang is None:
        print("clang is not there: `make fuzz-scanner` installs it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="miniwsgi-scan-") as directory:
        fuzzer = Fuzzer(Path(directory), clang)
        figures = fuzzer.run(options.seconds, options.seed)
        print(", ".join(f"{name} {number}" for name, number in figures.items()))
        for finding in fuzzer.findings():
            why = fuzzer.broken(finding)
            data = minimised(finding, lambda smaller, why=why: fuzzer.broken(smaller) == why, 200) if why else finding
            path = keep(NAME, data, why or "slow, out of memory, or not the same twice", options.findings)
            print(f"    {data!r}\n    {why}\n    kept as {path}")
        if options.keep:
            keep_corpus(fuzzer.fewest(), CORPUS / f"{NAME}.txt")
        return 1 if fuzzer.findings() else 0


if __name__ == "__main__":
    sys.exit(main())
