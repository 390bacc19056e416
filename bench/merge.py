"""One results file of several: what was measured table by table, in quiet hours, as if it had been one run. Pure.

What a later file has of a pair of server and workload, or of an operation, takes the place of what an earlier one has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.document import DocumentError
from bench.results_file import FORMAT

SAME = ("cpu", "cores", "kernel", "python", "wrk")  # or rows would not compare
LEAST, MOST = ("rounds", "seconds", "warm_up"), ("others",)


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All of them as one, without verdicts. Raises DocumentError when machines or versions differ."""
    first = documents[0]
    for name in SAME:
        found = {str(one["machine"].get(name)) for one in documents}
        if len(found) > 1:
            raise DocumentError(f"results of different machines: {name} is {' and '.join(sorted(found))}")
    return {
        "format": FORMAT,
        "started": min(one["started"] for one in documents),
        "took_seconds": round(sum(one["took_seconds"] for one in documents), 1),
        "interrupted": any(one["interrupted"] for one in documents),
        "machine": first["machine"],
        "versions": _versions(documents),
        "settings": _settings(documents),
        "servers": _latest(documents, "servers", lambda one: one["name"]),
        "workloads": _workloads(documents),
        "cells": _latest(documents, "cells", lambda one: (one["workload"], one["server"])),
        "operations": _latest(documents, "operations", lambda one: (one["name"], one["server"])),
        "screening": _latest(documents, "screening", lambda one: (one["workload"], one["server"])),
    }


def _latest(
    documents: Iterable[Mapping[str, Any]], part: str, key: Callable[[Mapping[str, Any]], object]
) -> list[Mapping[str, Any]]:
    found: dict[object, Mapping[str, Any]] = {}
    for document in documents:
        for one in document.get(part) or []:
            found[key(one)] = one
    return list(found.values())


def _workloads(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each with all servers that took part in any file."""
    everybody: dict[str, dict[str, None]] = {}
    for document in documents:
        for one in document.get("workloads") or []:
            everybody.setdefault(one["name"], {}).update(dict.fromkeys(one["servers"]))
    latest = _latest(documents, "workloads", lambda one: one["name"])
    return [{**one, "servers": list(everybody[one["name"]])} for one in latest]


def _versions(documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for document in documents:
        for name, version in (document.get("versions") or {}).items():
            if found.setdefault(name, version) != version:
                raise DocumentError(f"results of different versions: {name} {found[name]} and {version}")
    return found


def _settings(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first one's; what is better when it is more, as the worst has it."""
    all_of_them = [document.get("settings") or {} for document in documents]
    found = dict(all_of_them[0])
    for names, worst in ((LEAST, min), (MOST, max)):
        for name in names:
            if values := [settings[name] for settings in all_of_them if name in settings]:
                found[name] = worst(values)
    return found
