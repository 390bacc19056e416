"""The other WSGI servers: how each is started, asked the cases that count for everybody, and what came of it.

Each is started from the interpreter given, with one process where it can be chosen and with its defaults otherwise. A
case whose answer did not come in time is asked once more, patiently, before it counts as failed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tests.support.ports import free_port

from .case import Case, get
from .exchange import End, Exchange, Send, run
from .runner import Effort, Target, Verdict, check

HERE = Path(__file__).resolve().parent
READY_SECONDS = 30.0
EFFORT = Effort(splits=2, serving_splits=0)
ONCE_MORE = Effort(splits=0, serving_splits=0)
DEADLINE_SECONDS = 5.0  # what is not answered by then is asked once more
AGAIN_SECONDS = 10.0
EVENTS_SECONDS = 5.0  # for close() to be called
FILE_WRAPPER = "wsgi.file_wrapper"  # optional (PEP 3333)
FILES = "PEP 3333 Optional Platform-Specific File Handling"  # asked where it exists


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A server, and how it is started for one port."""

    name: str
    package: str
    command: Callable[[str], list[str]]  # behind the interpreter: the port is the argument
    how: str
    concurrency: int = 64  # connections at once; fewer for those that give each a thread


def embedded(lines: str) -> Callable[[str], list[str]]:
    """A program that has no command of its own."""
    return lambda port: ["-c", f"from application import application; {lines.replace('PORT', port)}"]


def module(text: str) -> Callable[[str], list[str]]:
    return lambda port: ["-m", *text.replace("PORT", port).split()]


def program(name: str, text: str) -> Callable[[str], list[str]]:
    """A program beside the interpreter, for servers that are no module."""
    start = "import os, sys; os.execv(os.path.join(os.path.dirname(sys.executable), sys.argv[1]), sys.argv[1:])"
    return lambda port: ["-c", start, name, *text.replace("PORT", port).split()]


MINIWSGI = "miniwsgi.daemon serve application:application --bind 127.0.0.1:PORT --workers 1"
PEERS = (
    Peer("miniwsgi", "miniwsgi", module(MINIWSGI), "`miniwsgi serve … --workers 1`"),
    Peer("gunicorn", "gunicorn", module("gunicorn -b 127.0.0.1:PORT -k gthread --threads 32 application:application"),
         "`gunicorn -k gthread --threads 32`", 24),
    Peer("waitress", "waitress", module("waitress --listen=127.0.0.1:PORT application:application"),
         "`waitress-serve --listen=…`"),
    Peer("cheroot", "cheroot", module("cheroot --bind 127.0.0.1:PORT --threads 32 application:application"),
         "`cheroot --bind … --threads 32`", 24),
    Peer("gevent", "gevent", embedded("from gevent.pywsgi import WSGIServer; "
         "WSGIServer(('127.0.0.1', PORT), application).serve_forever()"), "`WSGIServer(…).serve_forever()`"),
    Peer("granian", "granian", module("granian --interface wsgi --host 127.0.0.1 --port PORT application:application"),
         "`granian --interface wsgi`"),
    Peer("bjoern", "bjoern", embedded("import bjoern; bjoern.run(application, '127.0.0.1', PORT)"), "`bjoern.run(…)`"),
    Peer("fastwsgi", "fastwsgi", embedded("import fastwsgi; fastwsgi.run(wsgi_app=application, host='127.0.0.1', "
         "port=PORT)"), "`fastwsgi.run(…)`"),
    Peer("socketify", "socketify", module("socketify application:application --interface wsgi --host 127.0.0.1 "
         "--port PORT"), "`socketify --interface wsgi`"),
)  # fmt: skip


class Running:
    """A context: the server answers on entry and is gone on exit; `restart` after it has ended."""

    def __init__(self, peer: Peer, python: str, directory: Path) -> None:
        self.peer = peer
        self.port = free_port()
        self._argv = [python, *peer.command(str(self.port))]
        self._directory = directory
        self._family: dict[int, psutil.Process] = {}
        self.log_path = directory / f"{peer.name}.log"

    def __enter__(self) -> Running:
        settings = {"CONFORMANCE_RECORDS": str(self._directory / "records"), "MINIWSGI_CONTROL_SOCKET": "off"}
        settings |= {"MINIWSGI_METRICS_BIND": "off", "PYTHONPATH": str(HERE)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **settings},
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                raise OSError(f"it does not start: {self.log_path.read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.1)
        self.family()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.family():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait()

    @property
    def target(self) -> Target:
        return Target(
            ("127.0.0.1", self.port),
            strict=False,
            concurrency=self.peer.concurrency,
            deadline_seconds=DEADLINE_SECONDS,
            events_seconds=EVENTS_SECONDS,
        )

    def answers(self, seconds: float = 2.0) -> bool:
        asking = Exchange([Send(get(b"/", b"Connection: close"))], seconds=seconds)
        run([asking], self.target.address)
        return bool(asking.outcome and asking.outcome.responses)

    def family(self) -> list[psutil.Process]:
        """All processes that it ever had and that still run."""
        try:
            master = psutil.Process(self.process.pid)
            for process in [master, *master.children(recursive=True)]:
                self._family[process.pid] = process
        except psutil.NoSuchProcess:
            pass
        return [one for one in self._family.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def is_whole(self, before: set[int]) -> bool:
        """Whether it answers, and none of these processes has ended."""
        return self.process.poll() is None and before <= {one.pid for one in self.family()} and self.answers(10.0)

    def restart(self) -> None:
        self.__exit__()
        self._family.clear()
        self.__enter__()


@dataclasses.dataclass(slots=True)
class Result:
    """What a server did with the cases."""

    peer: Peer
    version: str
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    deadly: list[str] = dataclasses.field(default_factory=list)  # cases after which a process of it was gone
    wrapper: bool = True
    trouble: str = ""  # why it could not be asked


def ask(peer: Peer, python: str, version: str, cases: Sequence[Case]) -> Result:
    """Ask one server everything, topic by topic; restart it when it ends."""
    result = Result(peer, version)
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        try:
            with Running(peer, python, Path(directory)) as server:
                result.wrapper = offers_wrapper(server.target)
                topics: dict[str, list[Case]] = defaultdict(list)
                for case in cases:
                    topics[case.topic].append(case)
                for topic, members in topics.items():
                    print(f"{peer.name}: {topic}", file=sys.stderr)
                    if topic != FILES or result.wrapper:
                        ask_topic(server, members, result)
        except OSError as error:
            result.trouble = str(error)
    return result


def ask_topic(server: Running, cases: Sequence[Case], result: Result) -> None:
    before = {one.pid for one in server.family()}
    verdicts = check(server.target, cases, EFFORT)
    if not server.is_whole(before):
        server.restart()  # which of them was it?
        result.verdicts += [ask_alone(server, verdict.case, result) for verdict in verdicts]
        return
    late = [verdict.case for verdict in verdicts if any(End.DEADLINE.value in fault for fault in verdict.faults)]
    patient = dataclasses.replace(server.target, deadline_seconds=AGAIN_SECONDS)
    again = {str(verdict.case): verdict for verdict in check(patient, late, ONCE_MORE)}
    result.verdicts += [again.get(str(verdict.case), verdict) for verdict in verdicts]


def ask_alone(server: Running, case: Case, result: Result) -> Verdict:
    before = {one.pid for one in server.family()}
    (verdict,) = check(server.target, [case], EFFORT)
    if not server.is_whole(before):
        result.deadly.append(str(case))
        verdict.faults.append("a process of the server ended")
        server.restart()
    return verdict


def offers_wrapper(target: Target) -> bool:
    asking = Exchange([Send(get(b"/", b"Connection: close"))], seconds=AGAIN_SECONDS)
    run([asking], target.address)
    assert asking.outcome is not None
    return FILE_WRAPPER in json.loads(asking.outcome.responses[0].body)["environ"]
