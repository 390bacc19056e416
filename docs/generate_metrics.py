"""Write the table of families in docs/metrics.md from their declarations: `python docs/generate_metrics.py`.

What stands between the two comments is made here, the rest of the page is not touched. With --check, nothing is written
and the exit status is 1 if the page is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from miniwsgi.metrics.declared import A_ROUTE, A_SLOT, DECLARED
from miniwsgi.metrics.families import Declaration
from miniwsgi.metrics.route_names import KNOWN_ROUTES
from miniwsgi.metrics.scoreboard import MAX_SLOTS, SERIES

PAGE = Path(__file__).parent / "metrics.md"
BEGIN, END = "<!-- Made by docs/generate_metrics.py from metrics/declared.py. -->", "<!-- End. -->"
DURATION_SAMPLES, FINE_SAMPLES, SIZE_SAMPLES = 17, 20, 15  # buckets with +Inf, _sum and _count
LABELLED = "http_server_request_duration_seconds"


def page() -> str:
    """The whole page as it should be."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.name} lacks the comment {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{_table()}\n{''.join(_bound())}\n{END}{after}"


def _table() -> str:
    rows = ["| Name | Type | Labels | Time series | Meaning |", "|---|---|---|---|---|"]
    for one in DECLARED:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        series = f"{one.series}, × {samples(one)}" if one.kind == "histogram" else one.series
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {series} | {_code(one.help)} |")
    return "\n".join(rows) + "\n"


def _code(text: str) -> str:
    """Names and settings in a text, marked as such."""
    return re.sub(r'(environ\["[\w.]+"\]|\b(?:miniwsgi|http|process)_\w+|\b[a-z]+\.[a-z]+_[a-z_]+\b)', r"`\1`", text)


def samples(one: Declaration) -> int:
    """Time series that one set of labels makes in Prometheus."""
    if one.kind != "histogram":
        return 1
    return SIZE_SAMPLES if one.name.endswith("_bytes") else DURATION_SAMPLES


def _bound() -> Iterator[str]:
    """How many time series there can be, added up from the declarations."""
    fixed = sum(int(one.series) * samples(one) for one in DECLARED if one.series.isdigit())
    fixed += sum(one.series == "0 or 1" for one in DECLARED)
    a_slot = sum(one.series == A_SLOT for one in DECLARED)
    a_route = sum(one.series == A_ROUTE for one in DECLARED)
    a_listener = sum("listener" in one.labels for one in DECLARED)
    yield "A daemon has at most so many time series:\n\n"
    yield "| Number | For what |\n|---|---|\n"
    yield f"| {fixed} | whatever happens |\n"
    yield f"| {a_slot} × slots | used so far: `server.workers`, twice as many after a reload; at most {MAX_SLOTS} |\n"
    yield f"| {a_listener} × listeners | addresses in `server.bind` |\n"
    yield f"| {a_route} × routes | in use, at most {KNOWN_ROUTES} and `_OTHER` |\n"
    yield "| 10 | methods of running requests |\n"
    yield f"| {DURATION_SAMPLES} × kinds | methods × statuses × routes that occur, at most {SERIES} × slots |\n"
    yield "| 20 | about so many endpoints × statuses of control calls; none without calls |\n\n"
    typical, slots = 12, 8
    usual = fixed + a_slot * slots + a_listener + 2 + DURATION_SAMPLES * typical
    worst = fixed + a_slot * slots + a_listener + 10 + 20 + DURATION_SAMPLES * SERIES * slots
    worst += a_route * (KNOWN_ROUTES + 1)
    yield (
        f"With {slots} slots, one listener and {typical} kinds of requests these are {usual}; in the worst case, "
        f"{slots} slots that each meet {SERIES} kinds which no other meets, {worst:,}. Routes multiply kinds: name "
        "routes by their pattern (`/orders/<id>`), never by their path. With `metrics.fine_buckets` a kind has "
        f"{FINE_SAMPLES} instead of {DURATION_SAMPLES}.\n"
    )


def main(arguments: list[str]) -> int:
    """Write the page, or with --check tell whether it differs."""
    text = page()
    if text == PAGE.read_text("utf-8"):
        return 0
    if "--check" in arguments:
        print(f"{PAGE.name} is not up to date: run python docs/generate_metrics.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
