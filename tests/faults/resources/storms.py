"""Signals faster than they can be obeyed, and in the wrong moment."""

from __future__ import annotations

import signal
import time

from tests.support.waiting import PATIENCE_SECONDS

from .stage import Outcome, Stage


def a_hundred_reloads_in_a_second(stage: Stage) -> Outcome:
    """100 SIGHUPs in a second: all succeed, most of them joined in one; nothing is lost"""
    daemon = stage.start()
    load = stage.load()
    before = set(daemon.workers())
    stage.release("v2")
    for _ in range(100):
        daemon.signal(signal.SIGHUP)
        time.sleep(0.01)  # the subject of the test
    stage.lifted()
    load.wait_for_version("v2")
    daemon.wait(lambda: daemon.log().count("reload: done") >= 1 and not _reloading(stage), "the last verdict")
    daemon.wait(lambda: not before & set(daemon.workers()), "new workers")
    assert "reload failed" not in daemon.log()
    stage.note(f"{daemon.log().count('reload: done')} reloads for 100 signals")
    stage.recovered()
    return stage.conclude()


def scales_up_and_down_in_one_burst(stage: Stage) -> Outcome:
    """TTIN and TTOU by the hundred, then as many of either: as many workers as before"""
    daemon = stage.start()
    stage.load()
    changes = stage.size(30, 100)
    for number in range(changes):
        daemon.signal(signal.SIGTTIN if number % 2 else signal.SIGTTOU)
        daemon.wait(lambda: daemon.process.poll() is None, "a master")
        time.sleep(0.002)  # signals that are pending are one: the master must take each
    with stage.control() as control:
        control.change("/scale", {"workers": 2})
    stage.lifted()
    stage.recovered()
    return stage.conclude()


def reload_during_scale_during_stop(stage: Stage) -> Outcome:
    """HUP, TTIN, TERM, HUP, TTOU at once: what was asked before the stop is answered, then it stops"""
    daemon = stage.start()
    load = stage.load(path="/slow?ms=150")
    running = load.finish()
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU, signal.SIGUSR1):
        daemon.signal(number)
        time.sleep(0.005)  # the order of pending signals is that of their numbers
    stage.lifted()
    assert daemon.process.wait(PATIENCE_SECONDS) == 0, daemon.log()
    stage.outcome.seconds = time.monotonic() - stage._lifted_at
    stage.note(f"{running} were running")
    return stage.conclude()


def stop_amid_a_reload(stage: Stage) -> Outcome:
    """TERM at many moments of a reload: all that runs is answered, exit status 0"""
    moments = (0.0, 0.05, 0.2) if not stage.full else (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
    for moment in moments:
        stage.start(watch=moment == moments[0])
        load = stage.load(path="/slow?ms=100")
        stage.daemon.signal(signal.SIGHUP)
        time.sleep(moment)
        load.finish()
        stage.lifted()
        assert stage.daemon.stop() == 0, stage.daemon.log()
        stage.outcome.seconds = max(stage.outcome.seconds, time.monotonic() - stage._lifted_at)
        for report in stage.end_load():
            assert not report.lost, (moment, report, stage.daemon.log())
        stage.aftermath.assert_gone()
        stage.forget()
    return stage.outcome


def stopped_twice(stage: Stage) -> Outcome:
    """TERM twice: the second kills what runs, at most that; exit status 0"""
    daemon = stage.start()
    load = stage.load(path="/slow?ms=10000", answered=0)
    running = load.finish()
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("stop is asked for by SIGTERM")
    daemon.signal(signal.SIGTERM)
    stage.lifted()
    assert daemon.process.wait(PATIENCE_SECONDS) == 0, daemon.log()
    stage.outcome.seconds = time.monotonic() - stage._lifted_at
    return stage.conclude(
        lambda report: f"{len(report.lost)} of {running}" if len(report.lost) > running else "",
        allowance=f"{running} that ran",
    )


def _reloading(stage: Stage) -> bool:
    with stage.control() as control:
        return any(one["state"] not in {"succeeded", "failed"} for one in control.get("/operations")["operations"])
