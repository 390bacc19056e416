"""Write docs/migrating-from-*.md from the tables of `miniwsgi import`: `python docs/generate_migrating.py`.

What stands between the two comments is made here, the rest of a page is not touched. With --check, nothing is written
and the exit status is 1 if a page is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.migration.gunicorn import table as gunicorn
from miniwsgi.daemon.migration.setting import Fate, Setting
from miniwsgi.daemon.migration.unit import table as unit
from miniwsgi.daemon.migration.uwsgi import table as uwsgi

DIRECTORY = Path(__file__).parent
BEGIN, END = "<!-- Made by docs/generate_migrating.py from {}. -->", "<!-- End. -->"
WORDS = sorted((path for path in KEYS if "." in path), key=len, reverse=True)


def pages() -> dict[Path, str]:
    """Every page as it should be."""
    return {DIRECTORY / name: _page(DIRECTORY / name, source, rows) for name, (source, rows) in PAGES.items()}


def _page(path: Path, source: str, rows: Callable[[], Iterator[str]]) -> str:
    text = path.read_text("utf-8")
    begin = BEGIN.format(source)
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path.name} lacks the comment {begin} or {END}")
    return f"{before}{begin}\n\n{''.join(rows())}\n{END}{after}"


def _tables(settings: Mapping[str, Setting], server: str, name: Callable[[Setting], str]) -> Iterator[str]:
    """How many become what; then a table for each group."""
    count = Counter(setting.fate for setting in settings.values())
    yield f"| of {len(settings)} | what becomes of them |\n|---|---|\n"
    for fate in Fate:
        yield f"| {count[fate]} | {fate.value}: {MEANS[fate]} |\n"
    groups: dict[str, list[Setting]] = {}
    for setting in settings.values():
        groups.setdefault(setting.group, []).append(setting)
    for group, members in groups.items():
        yield f"\n### {group}\n\n| {server} | here | |\n|---|---|---|\n"
        for setting in members:
            yield f"| {name(setting)} | {_here(setting)} | {_marked(setting.says)} |\n"


MEANS = {
    Fate.SAME: "a key means the same",
    Fate.EQUIVALENT: "something does what it was for",
    Fate.BUILT_IN: "it needs no setting",
    Fate.LEFT_OUT: "there is something better, or it should not be",
    Fate.NOTHING: "HTTP/2, ASGI, task queues",
}


def _here(setting: Setting) -> str:
    return f"`{setting.key}`" if setting.key in KEYS else setting.fate.value


def _marked(text: str) -> str:
    """Keys and commands in a sentence, marked as such; a `|` would end the cell."""
    names = "|".join(map(re.escape, WORDS))
    text = re.sub(rf"(?<![\w.`])({names})(?![\w`])", r"`\1`", text)
    return text.replace("|", "\\|").replace("*", "\\*")


def _gunicorn() -> Iterator[str]:
    def name(setting: Setting) -> str:
        return " ".join(f"`{word}`" for word in (setting.name, *setting.flags))

    yield f"All settings of gunicorn {gunicorn.VERSION}.\n\n"
    yield from _tables(gunicorn.SETTINGS, "gunicorn", name)


def _uwsgi() -> Iterator[str]:
    def name(setting: Setting) -> str:
        return " ".join(f"`{word}`" for word in (setting.name, *setting.flags))

    yield "The usual options of uWSGI 2.0, with their other names.\n\n"
    yield from _tables(uwsgi.SETTINGS, "uWSGI", name)


def _unit() -> Iterator[str]:
    yield "What NGINX Unit 1.35 has for an application in Python, by its place in the configuration.\n\n"
    yield from _tables(unit.SETTINGS, "Unit", lambda setting: f"`{setting.name}`")


PAGES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "migrating-from-gunicorn.md": ("daemon/migration/gunicorn", _gunicorn),
    "migrating-from-uwsgi.md": ("daemon/migration/uwsgi", _uwsgi),
    "migrating-from-unit.md": ("daemon/migration/unit", _unit),
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check tell whether they differ."""
    stale = [path for path, text in pages().items() if path.read_text("utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.name} is not up to date: run python docs/generate_migrating.py", file=sys.stderr)
        else:
            path.write_text(pages()[path], "utf-8")
            print(f"docs/{path.name}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
