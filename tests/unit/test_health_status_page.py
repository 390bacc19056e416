"""The status page without a browser: what is filled in where, that it is escaped, and that the page loads nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.port.public_page import SHOWN_EVENTS, Neighbour, PublicPage, page_data
from miniwsgi.manager.port.public_status import public_status
from miniwsgi.metrics import status_page
from miniwsgi.metrics.health import Health, ServicePhase
from miniwsgi.metrics.history import Mark, MarkKind, Span

from tests.support.ctl_daemon import counts, operation, running, status, worker

HEALTH = Health(phase=ServicePhase.SERVING, started=True, ready_workers=2, target_workers=2, ready_min=1)
PAGE = status_page.load()


def shown(**changed: Any) -> dict[str, Any]:
    """What the page is filled with, of a busy daemon."""
    workers = changed.pop("workers", [worker(0, in_flight=[running(), running("/secret", 45.3)]), worker(1)])
    health = changed.pop("health", HEALTH)
    utilization = changed.pop("utilization", 0.375)
    parts = ("charts", "marks", "neighbours", "epoch", "routes", "slow", "lost")
    page = {name: changed.pop(name) for name in parts if name in changed}
    found = public_status(status(**changed), workers, health, utilization)
    return page_data(PublicPage(found, Span.QUARTER, **{"charts": "", **page}), now=0.0)


class Reader(HTMLParser):
    """What a page says: `figures` by the heading of a tile and what stands before each, `rows` of tables, `hidden`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.texts: dict[str, str] = {}  # of elements with an id
        self.hidden: list[str] = []
        self.marks: list[str] = []
        self._tag = self._id = self._heading = self._name = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in {"meta", "link"}:
            self.open.append(tag)
        if "id" in given:
            self._id = given["id"] or ""
        if tag in {"h3", "dt", "dd", "p"}:
            self._tag = tag
        if tag in {"h3", "dt"}:
            self._name = ""
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if "hidden" in given:
            self.hidden.append(given.get("id") or given.get("aria-labelledby") or tag)
        if "data-is" in given:
            self.marks.append(given["data-is"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag
        if tag == "h3":
            self._heading = self._name
        if tag == self._tag:
            self._tag = ""

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ").replace("\u202f", " ")
        self.texts[self._id] = self.texts.get(self._id, "") + data
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data.strip()
        elif self._tag in {"h3", "dt"}:
            self._name += data
        elif self._tag == "dd":
            self.figures[f"{self._heading}: {self._name}"] = data
        elif self._tag == "p" and "section" in self.open:
            self.figures[self._heading] = self.figures.get(self._heading, "") + data


def read(**changed: Any) -> Reader:
    found = Reader(PAGE.fill(shown(**changed)).decode())
    assert found.open == []
    return found


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_page_can_be_read_without_a_script() -> None:
    page = read()
    said = page.figures
    assert page.texts["state"].strip() == "running"
    assert said["Workers ready"].startswith("2 of 2")
    assert said["Requests in all"].startswith("123 456")
    assert said["Requests a second"].startswith("790 over 10 s")
    assert said["Requests a second: over 60 s"] == "–"
    assert said["Median duration"].startswith("≤ 2.5 ms")
    assert (said["Median duration: 99 %"], said["Median duration: over 60 s"]) == ("≤ 250 ms", "1 000")
    assert said["Median queue time"].startswith("–")
    assert (said["Running now: oldest for"], said["Running now: utilisation"]) == ("45.3 s", "38 %")
    assert (said["5xx, last minute: 5xx in all"], said["5xx, last minute: 4xx"]) == ("0", "0.2 %")
    head = ["ready", "4700", "7", "1 h 2 min", "1 200", "12.5", "12", "0", "0 %"]
    assert [row for row in page.rows if row[0] in {"0", "1", "7", "http://127.0.0.1:8000"}] == [
        ["7", "–", "2", "123 456", "345", "0.2 %", "0", "0 %"],
        ["http://127.0.0.1:8000", "0", "2048"],
        ["0", head[0] + "not responding", *head[1:], "2", "45.3 s", "0", "3", "34.0 MiB", "41 %", "0"],
        ["1", head[0] + "not responding", "4701", *head[2:], "0", "–", "0", "3", "34.0 MiB", "41 %", "0"],
    ]
    assert page.marks == ["healthy", "running", "ready", "silent", "ready", "silent"]


def test_what_there_is_no_value_for_is_hidden_or_a_dash() -> None:
    head, tables = ["span", "span", "reason"], ["h-routes", "h-requests", "h-events", "h-neighbours"]
    assert read().hidden == [*head, *tables, *["span"] * 2]  # revision, note of the engine; that workers are silent
    draining = Health(phase=ServicePhase.DRAINING, started=True, ready_workers=0, target_workers=0, ready_min=1)
    page = read(health=draining, workers=[], generation=None, utilization=None, engine_note="no build")
    assert page.hidden == ["span", *tables]
    assert "engine plain: no build" in " ".join(page.texts["facts"].split())
    assert "generation – " in page.texts["facts"]
    assert page.figures["Running now: utilisation"] == "–"
    assert "not ready: draining" in page.texts["reason"]


def test_what_is_wrong_stands_first_and_at_its_worker() -> None:
    reasons = ["2 of 2 workers not responding for 5 s, 3 connections queued", "it <b>burns</b>"]
    wedged = ms.Verdict("degraded", reasons, ["MW3022", "MW5006"])
    workers = [worker(0, not_responding_seconds=5.2, server_errors=7), worker(1, not_responding_seconds=5.0)]
    page = read(verdict=wedged, workers=workers)
    assert page.texts["reasons"].startswith("2 of 2 workers not responding for 5 s, 3 connections queued; it <b>burns")
    assert page.texts["codes"].strip() == "MW3022; MW5006"
    assert page.marks[:2] == ["degraded", "running"]
    assert page.hidden[-1] == "h-neighbours"


def test_every_place_of_the_page_has_a_known_format() -> None:
    source = Path(status_page.__file__).with_name("status.html").read_text("utf-8")
    formats = {place.partition("|")[2] or "text" for place in re.findall(r'data-v="([^"]*)"', source)}
    assert formats <= status_page.FORMATS.keys()
    assert "data-v" not in PAGE.fill(shown()).decode()


def test_events_are_told_by_their_kinds_and_numbers_the_latest_first() -> None:
    marks = [
        Mark(10.0, MarkKind.RELOAD, generation=7, workers=2, seconds=1.23),
        Mark(20.0, MarkKind.CRASH, slot=3, generation=7),
        *(Mark(50.0 + number, MarkKind.SLOW, slot=0, seconds=1.0) for number in range(30)),  # which have their table
        *(Mark(30.0 + number, MarkKind.SCALE, workers=number) for number in range(SHOWN_EVENTS - 2)),
    ]
    page = read(marks=marks, epoch=0.0)
    said = [row for row in page.rows if re.fullmatch(r"[\d:]{8}", row[0])]
    assert len(said) == SHOWN_EVENTS
    assert said[0][1] == f"scale to {SHOWN_EVENTS - 3} workers"
    assert [row[1] for row in said[-2:]] == ["worker 3 ended by itself", "reload: generation 7 after 1.2 s"]
    assert page.marks.count("bad") == 1


def test_other_daemons_are_told_as_far_as_they_let_us_look() -> None:
    others = [
        Neighbour("staging", "running, degraded", "degraded", 1, 2, 86400.0, "1.0"),
        Neighbour("<other>", "no access", "denied"),
    ]
    page = read(neighbours=others)
    assert ["staging", "running, degraded", "1 of 2", "1 d", "1.0"] in page.rows
    assert ["<other>", "no access", "–", "–", "–"] in page.rows


def test_what_is_filled_in_is_escaped() -> None:
    evil = '<script>alert(1)</script>"&'
    listener = ms.ListenerStatus(evil, evil, True, 0, 1, "http", False)
    page = PAGE.fill(shown(version=evil, listeners=[listener])).decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;") == 2
    page = PAGE.fill(shown(application=evil, neighbours=[Neighbour(evil, evil, evil, version=evil)])).decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;") == 2 + 4


@pytest.mark.parametrize(
    ("format_", "value", "text"),
    [
        ("count", 0, "0"),
        ("count", 1234567, "1 234 567"),
        ("rate", 0.44, "0.4"),
        ("rate", 12345.6, "12 346"),
        ("seconds", 0.0, "0 µs"),
        ("seconds", 0.00085, "850 µs"),
        ("seconds", 0.0012, "1.2 ms"),
        ("seconds", 0.25, "250 ms"),
        ("seconds", 12.34, "12.3 s"),
        ("seconds", 99.95, "1 min 39 s"),
        ("age", 0.9, "0 s"),
        ("age", 60, "1 min"),
        ("age", 200, "3 min 20 s"),
        ("age", 3600, "1 h"),
        ("age", 18720, "5 h 12 min"),
        ("age", 12 * 86400 + 7200, "12 d 2 h"),
        ("age", 86400 + 60, "1 d"),
        ("size", 0, "0.0 MiB"),
        ("size", 34 << 20, "34.0 MiB"),
        ("size", 5 << 30, "5.0 GiB"),
        ("percent", 41.4, "41 %"),
        ("share", 0.125, "12 %"),
        ("part", 0.0, "0 %"),
        ("part", 0.0001, "<0.1 %"),
        ("part", 0.125, "12.5 %"),
        ("part", 1.0, "100 %"),
    ],
)
def test_values_are_written_for_people(format_: str, value: float, text: str) -> None:
    written = status_page.FORMATS[format_](value)
    assert written.replace("\u00a0", " ").replace("\u202f", " ") == text


def test_the_page_and_its_title_name_application_and_host() -> None:
    page = PAGE.fill(shown(application="shop.<wsgi>")).decode()
    assert f"<title>healthy: shop.&lt;wsgi&gt; on {os.uname().nodename}</title>" in page
    assert f"<h1><span>shop.&lt;wsgi&gt;</span> <small>on <span>{os.uname().nodename}</span></small></h1>" in page


def test_nothing_jumps_when_values_come_and_go() -> None:
    """Whatever is hidden now and then lies in a place that is kept for it."""
    source = PAGE.fill(shown(utilization=None)).decode()
    tiles = source.partition('<div class="tiles">')[2].partition("</div>")[0]
    assert "hidden" not in tiles
    assert "#why { min-height: 1.45em;" in source
    assert source.index('id="why"') > source.index('id="facts"'), "the last line of the header, always there"


# --- what is not shown ---------------------------------------------------------------------------------------------


def test_who_leads_is_told_and_not_why_nobody_could() -> None:
    found = shown(workers=[worker(0), worker(1, leader="leading")])
    assert (found["leader"], [one["leader"] for one in found["workers"]]) == (1, [None, "leading"])
    failed = shown(leader=ms.Leader("nobody", None, None, None, 1.0, "secret", 1.0), workers=[worker(0)])
    assert failed["leader"] is None
    assert "secret" not in str(failed)


def test_nothing_of_requests_and_of_people_is_told() -> None:
    told = status(
        operations=[
            operation(detail="secret detail", who="secret alice", error="secret error", traceback="secret trace")
        ],
        last_reload=ms.LastReload(1, operation().asked_at, 1.0, "failed", "secret error", 2, "secret bob"),
        persist_error="secret path",
        workers=counts(),
    )
    workers = [worker(0, in_flight=[running("/secret/path")], reason="secret reason", last_exit="secret exit")]
    found = public_status(told, workers, HEALTH, None)
    assert found.workers[0].in_flight == 1
    assert b"secret" not in msgspec.json.encode(found)
    assert b"secret" not in PAGE.fill(page_data(PublicPage(found, Span.QUARTER, "")))


# --- that it loads nothing -----------------------------------------------------------------------------------------


def test_the_policy_allows_its_own_style_and_script_alone() -> None:
    page = PAGE.fill(shown()).decode()
    policy = dict(item.split(" ", 1) for item in PAGE.policy.split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    for element in ("style", "script"):
        found = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", page, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in PAGE.policy


def test_the_page_refers_to_nothing_outside() -> None:
    page = PAGE.fill(shown(listeners=[])).decode()
    assert re.findall(r"(?:https?:)?//[\w.]", re.sub(r"^\s*//.*$", "", page, flags=re.MULTILINE)) == []
    links = {"data:,", "metrics", "readyz", "status.json", "?span=15m", "?span=1h"}
    assert set(re.findall(r'(?:href|src|action)="([^"]*)"', page)) == links
    assert not re.search(r"\son\w+=|\sstyle=|<(?:link rel=\"style|img|iframe|object)", page)
