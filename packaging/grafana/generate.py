"""Write the dashboards beside this file: `python packaging/grafana/generate.py`, with grafana-foundation-sdk installed.

The JSON files are what Grafana loads; change the modules here, not them. With --check, nothing is written and the exit
status is 1 if a file is not up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import capacity
import service
import workers
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DIRECTORY = Path(__file__).parent


def files() -> dict[str, str]:
    """Every dashboard's JSON by its file's name."""
    made = {"service": service.made(), "workers": workers.made(), "capacity": capacity.made()}
    return {
        f"{name}.json": json.dumps(found, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, found in made.items()
    }


def main(arguments: list[str]) -> int:
    """Write them, or with --check tell which differ."""
    stale = {name: text for name, text in files().items() if _on_disk(name) != text}
    for name, text in stale.items():
        if "--check" in arguments:
            print(f"{name} is not up to date: run python packaging/grafana/generate.py", file=sys.stderr)
        else:
            (DIRECTORY / name).write_text(text, "utf-8")
    return int("--check" in arguments and bool(stale))


def _on_disk(name: str) -> str:
    try:
        return (DIRECTORY / name).read_text("utf-8")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
