"""A generation's first answers: what is told of new code that fails, when, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.master.control import first_answers as module
from miniwsgi.daemon.master.control.event_recorder import EventRecorder
from miniwsgi.daemon.master.control.first_answers import FirstAnswers, fails
from miniwsgi.manager.control.event_log import EventLog
from miniwsgi.metrics.answers import EVERY_SECONDS, LONGEST_SECONDS, Answers, Tally
from miniwsgi.metrics.board import Board

from tests.unit.supervisor_world import World
from tests.unit.test_app_metrics_master import Log


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (Answers(5, 0, 5), Answers(1000, 0, 1), True),
        (Answers(5, 0, 5), Answers(), True),  # a first start
        (Answers(4, 0, 4), Answers(1000, 0, 1), False),  # too few to tell
        (Answers(40, 0, 10), Answers(1000, 0, 125), True),
        (Answers(40, 0, 9), Answers(1000, 0, 0), False),
        (Answers(40, 0, 10), Answers(1000, 0, 126), False),  # the old did little better: it is not the code
        (Answers(40, 40, 0), Answers(), False),
    ],
)
def test_code_fails_where_many_answers_are_errors_and_the_old_code_gave_fewer(
    new: Answers, old: Answers, expected: bool
) -> None:
    assert fails(new, old) is expected


class Watched:
    """Generations that answer, one worker each, and what is told of them."""

    def __init__(self, boot_check: str = "") -> None:
        self.world = World()
        self.world.start()
        self.log = Log()
        self.now = 0.0
        self.board = Board.create()
        self.tally = Tally(self.board)
        self.event_log = EventLog()
        master: Any = SimpleNamespace(
            supervisor=self.world.supervisor,
            fleet=SimpleNamespace(tally=self.tally),
            log=self.log,
            config=SimpleNamespace(app=SimpleNamespace(boot_check=boot_check)),
        )
        self.first = FirstAnswers(master, EventRecorder(self.event_log, self.world.supervisor))
        self.tally.begin(self.board.claim(0).index, 1)
        self.tally.take(self.now)

    def take_over(self) -> None:
        """The next generation is in force: its worker takes the slot."""
        current = self.world.supervisor.turnover.current
        assert current is not None
        current.number += 1
        self.tally.end(0)
        self.tally.begin(0, current.number)

    def answer(self, *statuses: int, seconds: float = 1.0) -> str:
        """Answers are given, and time passes: what is said then."""
        for status in statuses:
            self.board.slot(0).record("GET", status, 1_000_000)
        for _ in range(int(seconds)):
            self.now += 1.0
            self.tally.take(self.now)
            self.first.look(self.now)
        return self.first.said


def test_new_code_that_answers_500_to_everything_is_told_within_a_second_and_once() -> None:
    watched = Watched()
    assert watched.answer(*[200] * 999, 500) == ""
    watched.take_over()
    assert watched.answer(500, 500, 500, 500) == ""
    said = "100 % of generation 2's 5 answers are 5xx (generation 1's: 0.1 %)"
    assert watched.answer(500) == said
    assert watched.answer(500, 500).startswith("100 % of generation 2's 7 answers")
    (line,) = watched.log.lines
    assert line.startswith(f'warning: the code may be broken: {said}; app.boot_check = "/a/page" has new code answer')
    (event,) = watched.event_log.since(0).events
    assert (event.kind, event.generation) == ("generation.failing", 2)
    assert said in event.message


def test_a_check_that_was_answered_is_named() -> None:
    watched = Watched(boot_check="/health")
    watched.answer(*[500] * 5)
    (line,) = watched.log.lines
    assert "100 % of generation 1's 5 answers are 5xx; app.boot_check (/health) was answered well" in line


def test_it_is_said_no_more_when_the_last_minute_is_well() -> None:
    watched = Watched()
    assert watched.answer(*[500] * 5)
    assert watched.answer(seconds=LONGEST_SECONDS + 2 * EVERY_SECONDS) == ""
    assert watched.answer(500, *[200] * 40) == ""
    assert len(watched.log.lines) == 1


def test_what_is_said_of_a_generation_is_not_said_of_the_next_one() -> None:
    watched = Watched()
    assert watched.answer(*[500] * 5)
    watched.take_over()
    assert watched.first.said == ""  # before anybody has looked again


def test_what_fails_later_is_not_the_new_code() -> None:
    watched = Watched()
    watched.answer(*[200] * 30, seconds=module.FIRST_SECONDS + 1)
    assert watched.answer(*[500] * 300) == ""
    assert not watched.log.lines


def test_answers_are_not_counted_for_it_once_the_first_ones_were_well(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    assert watched.answer(*[200] * (module.FIRST_ANSWERS + 1), seconds=module.FIRST_SECONDS + 2) == ""
    looks: list[float] = []
    look = watched.tally.look
    monkeypatch.setattr(watched.tally, "look", lambda now: looks.append(now) or look(now))
    assert watched.answer(*[500] * 100, seconds=5) == ""
    assert not looks
    watched.take_over()
    assert watched.answer(200) == ""
    assert len(looks) == 1


def test_a_service_that_is_asked_seldom_is_judged_by_its_first_answers() -> None:
    watched = Watched()
    for _ in range(4):
        assert watched.answer(500, seconds=60) == ""
    assert watched.answer(500, seconds=60)
    assert len(watched.log.lines) == 1


def test_each_generation_is_judged_by_itself() -> None:
    watched = Watched()
    watched.answer(*[500] * 5)
    watched.take_over()
    assert watched.answer(*[200] * 10) == ""
    watched.take_over()
    assert watched.answer(*[500] * 10).endswith("(generation 2's: 0.0 %)")
    assert len(watched.log.lines) == 2
