"""Orders that the master cannot carry out: their operation fails, the others are carried out, a stop always ends.

A real master in a loop of its own; of its fleet only what it reports is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.master.running.configurations import Configurations, PreparedConfig
from miniwsgi.daemon.master.running.master import Master
from miniwsgi.daemon.master.supervising import actions as act
from miniwsgi.daemon.master.supervising import events as ev
from miniwsgi.daemon.master.supervising import lifetimes, stopping
from miniwsgi.daemon.master.supervising.exits import ProcessEnd
from miniwsgi.daemon.master.supervising.operations import Operation, OperationState
from miniwsgi.daemon.master.system.systemd import Notifier
from miniwsgi.manager import changes as ch

from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.test_app_metrics_master import Log

EVERY_ORDER = [kind for kind in vars(act).values() if isinstance(kind, type) and issubclass(kind, act.Action)]


class Broken(Master):
    """A master one kind of whose orders raises, once it is told so. Processes do at once as they are told."""

    def __init__(self, directory: Path, *, workers: int) -> None:
        flags = {
            "app.module": "app",
            "app.directory": str(directory),
            "server.bind": ["127.0.0.1:0"],
            "server.workers": workers,
        }
        config = load(None, {**flags, "timeouts.graceful": "200ms"}, {})
        self.kept = Log()
        configurations = Configurations(PreparedConfig.of(config, (), {}), lambda _text=None: config, {}, {})
        super().__init__(configurations, self.kept, Notifier({}))
        self.broken: type[act.Action] | None = None
        self._pid = 0
        does: dict[type[act.Action], Callable[[Any], None]] = {
            act.BootGeneration: lambda order: self.feed(ev.LauncherReady(order.generation, True)),
            act.RetireGeneration: lambda order: self.feed(ev.LauncherExited(order.generation, "exited")),
            act.KillLauncher: lambda order: self.feed(ev.LauncherExited(order.generation, "was killed")),
            act.ForkWorker: self._fork,
            act.DrainWorker: lambda order: self.feed(ev.WorkerExited(order.slot, ProcessEnd())),
            act.FinishWorker: lambda order: self.feed(ev.WorkerExited(order.slot, ProcessEnd())),
            act.KillWorker: lambda order: self.feed(ev.WorkerExited(order.slot, ProcessEnd(signal="SIGKILL"))),
        }
        self._orders = {kind: self._unless_broken(kind, do) for kind, do in (self._orders | does).items()}

    def _unless_broken(self, kind: type[act.Action], do: Callable[[Any], None]) -> Callable[[Any], None]:
        def carry_out(order: Any) -> None:
            if kind is self.broken:
                raise FileNotFoundError(2, "no usable temporary directory")
            do(order)

        return carry_out

    def _fork(self, order: act.ForkWorker) -> None:
        self._pid += 1
        self.feed(ev.WorkerForked(order.slot, self._pid))
        self.feed(ev.WorkerReady(order.slot))

    async def verdict(self, event: ch.Change) -> Operation:
        """Of an operation that is asked for now."""
        answer = self.ask(event)
        assert isinstance(answer, act.ChangeAccepted), answer
        return await self.wait(answer.operation)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain is not waited for for long."""
    monkeypatch.setattr(stopping, "EXIT_SECONDS", 0.05)
    monkeypatch.setattr(lifetimes, "REAP_TIMEOUT_SECONDS", 0.05)


async def started(master: Master) -> asyncio.Task[int]:
    """A daemon whose workers are all ready; its exit status comes."""
    running = asyncio.create_task(master.run())
    await asyncio.sleep(0)
    (start,) = master.supervisor.ledger
    await master.wait(start)
    return running


@pytest.mark.parametrize("kind", [act.PrepareGeneration, act.BootGeneration, act.ForkWorker])
def test_a_first_start_that_cannot_be_ordered_has_failed(kind: type[act.Action], tmp_path: Path) -> None:
    async def story() -> None:
        master = Broken(tmp_path, workers=2)
        master.broken = kind
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await master.run() == 3
        start = list(master.supervisor.ledger)[-1]
        assert start.state is OperationState.FAILED
        assert f"the master could not do {kind.__name__}: FileNotFoundError" in start.error
        assert any("Traceback" in line and "temporary directory" in line for line in master.kept.lines)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        (act.PrepareGeneration, ch.Reload(who="test")),
        (act.BootGeneration, ch.Reload(who="test")),
        (act.ForkWorker, ch.Reload(who="test")),
        (act.ForkWorker, ch.Scale(who="test", by=1)),
        (act.CommitGeneration, ch.Reload(who="test")),
        (act.OverrideLogLevel, ch.SetLogLevel(who="test", level="debug")),
    ],
)
def test_the_operation_fails_and_the_daemon_serves_on(kind: type[act.Action], ask: ch.Change, tmp_path: Path) -> None:
    async def story() -> None:
        master = Broken(tmp_path, workers=2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            running = await started(master)
            master.broken = kind
            operation = await master.verdict(ask)
            assert operation.state is OperationState.FAILED
            assert f"the master could not do {kind.__name__}: FileNotFoundError" in operation.error
            assert master.supervisor.table.ready() == 2
            master.broken = None
            assert (await master.verdict(ask)).succeeded
            master.feed(ch.Stop(who="test"))
            assert await running == 0

    asyncio.run(story())


@pytest.mark.parametrize("kind", [kind for kind in EVERY_ORDER if kind not in {act.Action, act.Exit}])
def test_a_stop_ends_whatever_cannot_be_ordered(kind: type[act.Action], tmp_path: Path) -> None:
    async def story() -> None:
        master = Broken(tmp_path, workers=2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            running = await started(master)
            master.broken = kind
            master.feed(ch.Reload(who="test"))  # and whatever is under way
            master.feed(ch.Stop(who="test"))
            assert await running == 0

    asyncio.run(story())


def test_an_observer_that_raises_silences_nobody(tmp_path: Path) -> None:
    def observe(*_what: object) -> None:
        raise RuntimeError("an observer")

    async def story() -> None:
        master = Broken(tmp_path, workers=1)
        heard: list[ev.SupervisorEvent] = []
        committed: list[Config] = []
        master.on_commit = [observe, committed.append]
        master.on_handled = [observe, lambda event, _actions: heard.append(event)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            running = await started(master)
            master.feed(ch.Stop(who="test"))
            assert await running == 0
        assert ev.WorkerReady(0) in heard
        assert len(committed) == 1

    asyncio.run(story())


def test_a_verdict_that_waits_for_sockets_which_are_closed_by_then_is_told(tmp_path: Path) -> None:
    async def closed() -> None:
        pass

    async def story() -> None:
        master = Broken(tmp_path, workers=1)
        told: asyncio.Queue[Operation] = asyncio.Queue()
        async with asyncio.timeout(PATIENCE_SECONDS):
            running = await started(master)
            await asyncio.gather(*master._closing)
            await asyncio.sleep(0)
            assert master._closing == set()
            master.announcer.concluded = told.put_nowait  # type: ignore[method-assign]
            closing = asyncio.create_task(closed())
            master._closing.add(closing)
            closing.add_done_callback(master._closing.discard)
            await asyncio.sleep(0)  # it has ended, and is yet to be discarded
            assert master._closing == {closing}
            assert closing.done()
            asked = master.ask(ch.Scale(who="us", to=2))
            assert isinstance(asked, act.ChangeAccepted)
            while await told.get() is not asked.operation:
                pass  # that of the start, perhaps
            master.feed(ch.Stop(who="us", now=True))
            assert await running == 0

    asyncio.run(story())
