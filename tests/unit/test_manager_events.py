"""The event log: the last events, and followers that cannot hold anything up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from miniwsgi.manager.control.event_log import BATCH, MAX_MESSAGE_CHARS, EventLog

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def event_log(kept: int = 10, events: int = 0) -> EventLog:
    found = EventLog(kept, now=lambda: T0)
    for number in range(1, events + 1):
        found.add("worker.ready", f"event {number}", slot=number)
    return found


async def lines(stream: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """The events of the next batch."""
    async with asyncio.timeout(5):
        batch = await anext(stream)
    assert batch.endswith(b"\n")
    return [json.loads(line) for line in batch.splitlines()]


@pytest.mark.parametrize(
    ("events", "since", "limit", "ids", "lost"),
    [
        (0, 0, 10, [], 0),
        (3, 0, 10, [1, 2, 3], 0),
        (3, 2, 10, [3], 0),
        (3, 3, 10, [], 0),
        (3, 99, 10, [], 0),  # of an earlier daemon
        (3, 0, 2, [2, 3], 0),
        (3, 0, 0, [], 0),
        (25, 0, 10, list(range(16, 26)), 15),
        (25, 20, 10, list(range(21, 26)), 0),
        (25, 14, 10, list(range(16, 26)), 1),
        (25, 0, 3, [23, 24, 25], 15),
    ],
)
def test_what_is_kept_can_be_asked_for(events: int, since: int, limit: int, ids: list[int], lost: int) -> None:
    found = event_log(events=events).since(since, limit)
    assert [event.id for event in found.events] == ids
    assert [event.message for event in found.events] == [f"event {number}" for number in ids]
    assert (found.last_id, found.lost) == (events, lost)


def test_a_message_is_one_line_of_bounded_length() -> None:
    found = event_log()
    found.add("worker.failed", "two\nlines\r\nand\tmore")
    found.add("worker.failed", "a" * 100_000)
    first, second = found.since(0).events
    assert first.message == "two lines and more"
    assert len(second.message) == MAX_MESSAGE_CHARS


def test_a_follower_hears_what_happens_from_now_on() -> None:
    async def body() -> None:
        found = event_log(events=3)
        stream = found.follow(None)
        waiting = asyncio.create_task(lines(stream))
        await asyncio.sleep(0)
        found.add("daemon.serving", "four")
        found.add("daemon.stopping", "five")
        assert [event["message"] for event in await waiting] == ["four", "five"]
        found.add("worker.ready", "six", slot=3, pid=7)
        (event,) = await lines(stream)
        assert (event["id"], event["slot"], event["pid"], event["at"]) == (6, 3, 7, "2026-03-01T00:00:00Z")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("since", "limit", "ids"),
    [(None, 2, [4, 5]), (None, 99, [1, 2, 3, 4, 5]), (0, 0, [1, 2, 3, 4, 5]), (3, 0, [4, 5])],
)
def test_a_follower_may_begin_in_the_past(since: int | None, limit: int, ids: list[int]) -> None:
    async def body() -> None:
        assert [event["id"] for event in await lines(event_log(events=5).follow(since, limit))] == ids

    asyncio.run(body())


def test_a_slow_follower_is_told_how_many_events_it_has_lost() -> None:
    async def body() -> None:
        found = event_log(kept=10, events=1)
        stream = found.follow(0)
        assert [event["id"] for event in await lines(stream)] == [1]
        for number in range(50):
            found.add("worker.ready", str(number))
        lost, *rest = await lines(stream)
        assert (lost["kind"], lost["lost"], lost["id"]) == ("events.lost", 40, 41)
        assert [event["id"] for event in rest] == list(range(42, 52))

    asyncio.run(body())


def test_what_was_dropped_before_a_follower_came_is_lost_only_to_those_who_ask_for_it() -> None:
    async def body() -> None:
        found = event_log(kept=10, events=30)
        assert (await lines(found.follow(5)))[0]["lost"] == 15
        assert [event["id"] for event in await lines(found.follow(None, 1000))] == list(range(21, 31))

    asyncio.run(body())


def test_a_follower_is_given_a_bounded_batch() -> None:
    async def body() -> None:
        stream = event_log(kept=1000, events=500).follow(0)
        assert [event["id"] for event in await lines(stream)] == list(range(1, BATCH + 1))
        assert (await lines(stream))[0]["id"] == BATCH + 1

    asyncio.run(body())


def test_an_event_is_encoded_once_for_all_followers() -> None:
    async def body() -> None:
        found = event_log(events=1)
        first, second = [await anext(found.follow(0)) for _ in range(2)]
        assert first == second
        assert found._lines.count(None) == 9

    asyncio.run(body())


def test_followers_that_leave_are_forgotten_and_the_end_ends_the_others() -> None:
    async def body() -> None:
        found = event_log()
        leaving, staying = [asyncio.create_task(_all(found.follow(None))) for _ in range(2)]
        await asyncio.sleep(0)
        assert len(found._waiting) == 2
        leaving.cancel()
        await asyncio.sleep(0)
        assert len(found._waiting) == 1
        found.add("daemon.stopping", "the last")
        found.close()
        assert b"the last" in b"".join(await staying)

    asyncio.run(body())


async def _all(stream: AsyncIterator[bytes]) -> list[bytes]:
    return [batch async for batch in stream]
