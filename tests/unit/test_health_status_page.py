"""The status page without a browser: what is filled in where, that it is escaped, and that the page loads nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.port.public_status import as_data, public_status
from miniwsgi.metrics import status_page
from miniwsgi.metrics.health import Health, ServicePhase

from tests.support.ctl_daemon import counts, operation, running, status, worker

HEALTH = Health(phase=ServicePhase.SERVING, started=True, ready_workers=2, target_workers=2, ready_min=1)
PAGE = status_page.load()


def shown(**changed: Any) -> dict[str, Any]:
    """What status.json says of a busy daemon."""
    workers = changed.pop("workers", [worker(0, in_flight=[running(), running("/secret", 45.3)]), worker(1)])
    health = changed.pop("health", HEALTH)
    utilization = changed.pop("utilization", 0.375)
    return as_data(public_status(status(**changed), workers, health, utilization))


class Reader(HTMLParser):
    """The text of a page: of elements with a place for a value, and of table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.hidden: set[str] = set()
        self.marks: list[str] = []
        self._open: str | None = None
        self._cell = False
        self.feed(text[: text.index("<template")])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = given.get("data-v")
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        self._cell = tag == "td" or (self._cell and tag == "span")
        if "data-if" in given and "hidden" in given:
            self.hidden.add(given["data-if"] or "")
        if "data-is" in given:
            self.marks.append(given["data-is"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None and self._cell:
            self.rows[-1][-1] += data
        elif self._open is not None:
            self.values[self._open.partition("|")[0]] = data


def read(**changed: Any) -> Reader:
    return Reader(PAGE.fill(shown(**changed)).decode())


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_page_can_be_read_without_a_script() -> None:
    page = read()
    said = {name: text.replace("\u00a0", " ").replace("\u202f", " ") for name, text in page.values.items()}
    assert said["state"] == "running"
    assert said["counts.ready"] == "2"
    assert said["requests.total"] == "123 456"
    assert (said["requests.rates.last_10s"], said["requests.rates.last_60s"]) == ("790", "–")
    assert (said["duration.shown.p50"], said["duration.shown.p99"], said["duration.window_seconds"]) == (
        "≤ 2.5 ms",
        "≤ 250 ms",
        "1 min",
    )
    assert said["queue_time.shown.p50"] == "–"
    assert said["oldest_seconds"] == "45.3 s"
    assert said["utilization"] == "38 %"
    rows = [[cell.replace("\u00a0", " ").replace("\u202f", " ") for cell in row] for row in page.rows if row]
    assert rows == [
        [
            "0",
            "ready",
            "4700",
            "7",
            "1 h 2 min",
            "1 200",
            "12.5",
            "12",
            "0",
            "0 %",
            "2",
            "45.3 s",
            "0",
            "3",
            "34.0 MiB",
            "41 %",
            "0",
        ],
        [
            "1",
            "ready",
            "4701",
            "7",
            "1 h 2 min",
            "1 200",
            "12.5",
            "12",
            "0",
            "0 %",
            "0",
            "–",
            "0",
            "3",
            "34.0 MiB",
            "41 %",
            "0",
        ],
        ["7", "2", "123 456", "345", "0.2 %", "0", "0 %"],
        ["http://127.0.0.1:8000", "0", "2048"],
    ]
    assert page.marks == ["healthy", "running", "ready", "silent", "ready", "silent"]
    assert said["verdict.level"] == "healthy"
    assert (said["requests.5xx"], said["requests.last_60s.4xx"]) == ("0", "0.2 %")


def test_what_there_is_no_value_for_is_hidden_or_a_dash() -> None:
    assert read().hidden == {"engine_note", "reason", "not_responding_seconds"}
    draining = Health(phase=ServicePhase.DRAINING, started=True, ready_workers=0, target_workers=0, ready_min=1)
    page = read(health=draining, workers=[], generation=None, utilization=None, engine_note="no build")
    assert page.hidden == set()
    assert page.values["engine_note"] == "no build"
    assert page.values["utilization"] == "–"
    assert page.values["reason"] == "draining"
    assert (page.values["generation"], page.values["oldest_seconds"]) == ("–", "–")
    assert [row[0] for row in page.rows if row] == ["7", "http://127.0.0.1:8000"]


def test_what_is_wrong_stands_first_and_at_its_worker() -> None:
    wedged = ms.Verdict("degraded", ["2 of 2 workers not responding for 5 s, 3 connections queued", "it <b>burns</b>"])
    workers = [worker(0, not_responding_seconds=5.2, server_errors=7), worker(1, not_responding_seconds=5.0)]
    page = read(verdict=wedged, workers=workers)
    assert page.values["verdict.reasons"].startswith(
        "2 of 2 workers not responding for 5 s, 3 connections queued; it <"
    )
    assert page.marks[:2] == ["degraded", "running"]
    assert "not_responding_seconds" not in page.hidden


def test_every_place_of_the_page_has_a_value_and_every_format_is_known() -> None:
    source = PAGE.fill(shown()).decode()
    formats = {place.partition("|")[2] or "text" for place in re.findall(r'data-v="([^"]*)"', source)}
    assert formats <= status_page.FORMATS.keys()
    script = source[source.index("const FORMATS") :]
    assert formats <= set(re.findall(r"^  (\w+):", script[: script.index("};")], re.MULTILINE))


def test_what_is_filled_in_is_escaped() -> None:
    evil = '<script>alert(1)</script>"&'
    listener = ms.ListenerStatus(evil, evil, True, 0, 1, "http", False)
    page = PAGE.fill(shown(version=evil, listeners=[listener])).decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;") == 2


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
    name = f"shop.&lt;wsgi&gt; on {os.uname().nodename}"
    assert f'<title data-v="name">{name}</title>' in page
    assert f'<h1 data-v="name">{name}</h1>' in page
    assert "document.title = `${data.verdict.level}: ${data.name}`" in page


def test_nothing_jumps_when_values_come_and_go() -> None:
    """Whatever is hidden now and then lies in a place that is kept for it."""
    tiles = PAGE.fill(shown()).decode().partition('<div class="tiles">')[2].partition("</div>")[0]
    assert "hidden" not in tiles.replace('aria-hidden="true"', "")
    assert "data-if" not in tiles
    source = PAGE.fill(shown(utilization=None)).decode()
    assert "#why { width: 100%; min-height: 1.45em; }" in source
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
    assert b"secret" not in PAGE.fill(as_data(found))


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
    assert set(re.findall(r'(?:href|src|action)="([^"]*)"', page)) == {"data:,", "metrics", "readyz", "status.json"}
    assert not re.search(r"\son\w+=|\sstyle=|<(?:link rel=\"style|img|iframe|object)", page)
