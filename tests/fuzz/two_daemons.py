"""Two daemons beside each other, of two engines: `python -m tests.fuzz.two_daemons --seconds 60 --seed 1`.

Many clients at once send pipelines, cut anywhere, and read them at whatever speed; some leave in the middle. What each
client of one daemon has been sent is compared with what the other's has, byte for byte; so are its lines of the access
log, in their order, and in the end how many requests were counted. Of those who have left, each line is right, and
there is none twice.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from miniwsgi.daemon.engine import choice

from tests.support.daemon import Daemon
from tests.support.metrics_client import Port
from tests.support.waiting import PATIENCE_SECONDS

from .live import POOLS, Pool
from .torture_application import WAYS

ROUND = 48  # conversations between two looks at the logs
CLIENTS = {"epoll": 12, "fork": 8, "prefork": 1}  # at once, of each daemon: a process parts from one for another
MOST_FAULTS = 5  # that are told
SIZES = (1, 2, 7, 40, 40, 300, 2000, 6000, 9000, 20_000, 70_000)
WAITS = (0, 0, 0, 0, 0, 0.05, 0.3, 1, 3, 8)  # milliseconds
SMALL_BUFFER_BYTES = 4096
PAUSES = (0, 0.0005, 0.003, 0.01)  # seconds in front of what a client sends
MOST_REQUESTS = 24
LEAVERS = 0.15
READERS = (
    (1 << 20, 0.0),
    (1 << 20, 0.0),
    (1 << 16, 0.0005),
    (3000, 0.001),
    (700, 0.0),
)  # bytes at once, seconds between

_DATE = re.compile(rb"\r\nDate: [^\r]{29}\r\n")
_NUMBER = re.compile(r" /c\d+-(\d+)\?")
_LINE = re.compile(r'"([A-Z]+ /(c\d+)-(\d+)\?\S+ HTTP/1\.\d)" (\d{3}) (\S+)')


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one client does."""

    name: str
    pieces: tuple[bytes, ...]
    waits: tuple[float, ...]  # seconds in front of each piece
    reads: tuple[int, float]
    small_buffer: bool
    leaves: int  # behind so many bytes; below 0: it reads all
    requests: int


def make(seed: int, number: int) -> Conversation:
    """The conversation of that number: the same for each daemon."""
    chance = random.Random(f"{seed}-{number}")
    count = chance.choice((1, 2, 3, 5, 8, chance.randrange(1, MOST_REQUESTS)))
    quick = number // ROUND % 3 > 0
    asked = [
        _request(
            chance,
            f"/c{number}-{each}",
            last=each == count - 1,
            calm=chance.random() < (0.85 if quick else 0.6),
            quick=quick,
        )
        for each in range(count)
    ]
    pieces = _bursts(chance, asked) if chance.random() < 0.7 else _cut(chance, b"".join(asked))
    leaves = chance.randrange(20_000) if chance.random() < LEAVERS else -1
    return Conversation(
        f"c{number}", pieces, tuple(chance.choice(PAUSES) for _ in pieces), chance.choice(READERS),
        chance.random() < 0.3, leaves, count,
    )  # fmt: skip


def _bursts(chance: random.Random, asked: list[bytes]) -> tuple[bytes, ...]:
    """The first one alone: what comes with the connection is no turn's. Then some at once, again and again."""
    cuts = sorted({0, 1, *(chance.randrange(len(asked)) for _ in range(chance.choice((0, 0, 1, 3)))), len(asked)})
    return tuple(b"".join(asked[start:end]) for start, end in itertools.pairwise(cuts))


def _cut(chance: random.Random, data: bytes) -> tuple[bytes, ...]:
    cuts = sorted(chance.randrange(len(data)) for _ in range(chance.choice((0, 0, 1, 2, 5))))
    return tuple(data[start:end] for start, end in itertools.pairwise((0, *cuts, len(data))))


def _request(chance: random.Random, path: str, *, last: bool, calm: bool, quick: bool) -> bytes:
    """`calm`: as most are. `quick`: while all are, an engine may have them wait for each other."""
    way = chance.choice(WAYS[:2] if calm else WAYS)
    sizes = [chance.choice(SIZES[:6] if calm else SIZES) for _ in range(1 if calm else chance.choice((1, 1, 2, 3, 8)))]
    waits = [0 if quick else chance.choice(WAITS[:6] if calm else WAITS) for _ in range(1 if calm else 3)]
    method = "GET" if calm else chance.choice(("GET", "GET", "GET", "HEAD", "POST"))
    target = f"{path}?way={way}&sizes={'.'.join(map(str, sizes))}&waits={'.'.join(map(_told, waits))}"
    version, fields = "1.1", ["Host: a", f"X-N: {chance.choice(('one', 'two', path))}"]
    if not calm and chance.random() < 0.1:
        version = "1.0"
        fields.append("Connection: keep-alive")
    if last:
        fields = [each for each in fields if not each.startswith("Connection")] + ["Connection: close"]
    body = ""
    if method == "POST":
        body = "b" * chance.choice((0, 3, 3000))
        fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join((f"{method} {target} HTTP/{version}", *fields, "", body)).encode()


def _told(milliseconds: float) -> str:
    return f"{milliseconds:g}".replace(".", "p")


def play(address: tuple[str, int], script: Conversation) -> bytes:
    """What the client has got: all until the end, or, if it leaves, something of it."""
    got = b""
    with socket.socket() as sock:
        sock.settimeout(PATIENCE_SECONDS)
        if script.small_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        sock.connect(address)
        at_once, pause = script.reads
        try:
            for piece, wait in zip(script.pieces, script.waits, strict=True):
                time.sleep(wait)
                sock.sendall(piece)
            while data := sock.recv(at_once):
                got += data
                if 0 <= script.leaves < len(got):
                    break
                if pause and len(got) < 300_000:
                    time.sleep(pause)
        except ConnectionError:
            return got + b" and then a reset"
    return _DATE.sub(b"\r\n", got)


@dataclass(slots=True)
class Served:
    """A daemon, and what was seen of it."""

    pool: Pool
    daemon: Daemon
    metrics: Port
    log_path: Path
    at: int = 0
    got: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def play(self, scripts: Sequence[Conversation]) -> None:
        with ThreadPoolExecutor(CLIENTS[self.pool.kind]) as clients:
            for script, got in zip(
                scripts, clients.map(lambda each: play(self.daemon.address, each), scripts), strict=True
            ):
                self.got[script.name] = got

    def read(self) -> None:
        """What has been logged since the last time."""
        with self.log_path.open("rb") as file:
            file.seek(self.at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.at += len(whole)
        for line in whole.decode().splitlines():
            found = _LINE.search(line)
            assert found, line
            self.lines[found[2]].append(f"{found[1]} {found[4]} {found[5]}")

    def miscounted(self) -> list[str]:
        """Whoever has left may be counted a little later than the others."""
        deadline = time.monotonic() + PATIENCE_SECONDS / 4
        while self.counted() != self.logged() and time.monotonic() < deadline:
            self.read()
            time.sleep(0.05)
        counted, logged = self.counted(), self.logged()
        return [] if counted == logged else [f"answers and bytes: counted {counted}, logged {logged}"]

    def counted(self) -> tuple[float, float]:
        """Answers, and the bytes of their bodies."""
        found = self.metrics.scrape()
        size = "http_server_response_body_size_bytes"
        return found[f"{size}_count"], found[f"{size}_sum"]

    def logged(self) -> tuple[float, float]:
        """The same by the access log."""
        sizes = [int(line.rpartition(" ")[2].replace("-", "0")) for lines in self.lines.values() for line in lines]
        return len(sizes), sum(sizes)


@dataclass(slots=True)
class Report:
    """What a run came to."""

    conversations: int = 0
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


@contextmanager
def serving(pool: Pool, engine: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="miniwsgi-two-") as name:
        directory = Path(name)
        arguments = [
            "torture_application:application", "--chdir", str(Path(__file__).parent), "--engine", engine,
            "--pool", pool.kind, "--threads", str(pool.threads), "--workers", str(pool.workers),
            "--metrics-bind", f"unix:{directory / 'metrics.sock'}", "--access-log", str(directory / "access.log"),
        ]  # fmt: skip
        with Daemon(directory, *arguments) as daemon:
            daemon.settle(pool.workers)
            yield Served(pool, daemon, Port(directory / "metrics.sock"), directory / "access.log")


def torture(
    pool: Pool,
    seed: int,
    *,
    conversations: int = 0,
    seconds: float = 0.0,
    engines: tuple[str, str] = ("plain", "compiled"),
) -> Report:
    """So many conversations, or for so many seconds; ends with the round in which anything differs."""
    report = Report()
    began = time.monotonic()
    with ExitStack() as stack:
        pair = [stack.enter_context(serving(pool, engine)) for engine in engines]
        both = stack.enter_context(ThreadPoolExecutor(2))
        while not report.faults and (report.conversations < conversations or time.monotonic() - began < seconds):
            scripts = [make(seed, report.conversations + number) for number in range(ROUND)]
            list(both.map(Served.play, pair, (scripts, scripts)))
            report.faults += differences(scripts, *pair)
            report.conversations += ROUND
            report.requests += sum(script.requests for script in scripts)
            report.bytes += sum(len(pair[0].got[script.name]) for script in scripts)
        for served in pair:
            if not report.faults:
                report.faults += served.miscounted()
    report.seconds = time.monotonic() - began
    return report


def differences(scripts: Sequence[Conversation], one: Served, other: Served) -> list[str]:
    """Of those that were played last."""
    faults: list[str] = []
    stay = [script for script in scripts if script.leaves < 0]
    for script in stay:
        ours, theirs = one.got[script.name], other.got[script.name]
        if ours != theirs:
            at = next(at for at in range(len(ours) + 1) if ours[: at + 1] != theirs[: at + 1])
            shown = slice(max(0, at - 200), at + 200)
            what = f"{script.name}: {len(ours)} and {len(theirs)} bytes, from {at} on"
            faults.append(f"{what}:\n  {ours[shown]!r}\n  {theirs[shown]!r}")
    if faults:
        return faults
    deadline = time.monotonic() + PATIENCE_SECONDS / 4
    while time.monotonic() < deadline:  # lines come a little later
        one.read()
        other.read()
        if all(one.lines[script.name] == other.lines[script.name] for script in stay):
            break
        time.sleep(0.01)
    for script in scripts:
        logged = one.lines[script.name], other.lines[script.name]
        if script.leaves < 0 and logged[0] != logged[1]:
            faults.append(f"{script.name}: logged\n  {logged[0]}\n  {logged[1]}")
        for lines in logged:
            numbers = [int(number) for line in lines for number in _NUMBER.findall(line)]
            if numbers != list(range(len(lines))) or len(lines) > script.requests:
                faults.append(f"{script.name}: logged in the order {numbers}")
    return faults


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when nothing differed, 1 when something did, 2 when there are no two engines to compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.two_daemons", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each pool")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pool", default="", help="only pools that contain this")
    options = parser.parse_args(arguments)
    engines = ("plain", choice.choose(choice.AUTO).name)
    if engines[0] == engines[1]:
        print("there is no engine here to be compared with the plain one", file=sys.stderr)
        return 2
    good = True
    for pool in POOLS:
        if options.pool in pool.name:
            report = torture(pool, options.seed, seconds=options.seconds, engines=engines)
            print(
                f"{pool.name}, seed {options.seed}: {report.conversations} conversations, {report.requests} requests, "
                f"{report.bytes >> 20} MiB in {report.seconds:.0f} s"
            )
            for fault in report.faults[:MOST_FAULTS]:
                print(f"    FAULT {fault}")
            sys.stdout.flush()
            good = good and not report.faults
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
