"""The application's own metrics: the value files of all its processes, added up and written as an exposition.

Does what prometheus_client's MultiProcessCollector does, and differs where places are taken over (see value_files):
gauges of the dead go by locks, a damaged file costs only what is damaged, and both layouts of files are read. Run as
a process of its own by the master (`main`), which gives it little time and memory; standard library only, as most of
its time would otherwise be the import. A merge does not change the directory.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import value_files
from .escaping import escaped, escaped_help
from .value_files import GAUGE_KINDS, LOCKS, MULTIPLE_PROCESSES

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_NAMED = 20  # names in a report
RESERVED_PREFIX = "miniwsgi_"
RESERVED = frozenset(  # families of the server's part; twice the same one, and Prometheus refuses the whole scrape
    (
        "http_server_request_duration_seconds",
        "http_server_active_requests",
        "http_server_request_body_size_bytes",
        "http_server_response_body_size_bytes",
        "process_cpu_seconds",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "process_virtual_memory_max_bytes",
    )
)
SUFFIXES = {
    "counter": ("_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
}

_ALL_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_created")
_TAKEN = frozenset(name + suffix for name in RESERVED for suffix in _ALL_SUFFIXES)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")

Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, str, dict[str, str], str]


@dataclass(slots=True)
class Report:
    """What a merge left out: families (named like the server's, or like each other) and files (damaged)."""

    dropped: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _MergedFamily:
    name: str
    kind: str
    help: str
    samples: dict[tuple[str, Labels], _Value] = field(default_factory=dict)


@dataclass(slots=True)
class _Value:
    """A value on its way through a merge; `mode` says how another one is put to it."""

    mode: str
    value: float
    timestamp: float = 0.0

    def put(self, value: float, timestamp: float) -> None:
        mode = self.mode
        if mode == "sum":
            self.value += value
        elif mode == "max":
            self.value = max(self.value, value)
        elif mode == "min":
            self.value = min(self.value, value)
        elif mode == "all" or timestamp > self.timestamp:
            self.value, self.timestamp = value, timestamp


def merge(directory: str, openmetrics: bool) -> tuple[bytes, Report]:
    """The families of all files in a directory, without OpenMetrics' `# EOF`. Raises OSError without the directory."""
    report = Report()
    families = _families(_values(directory, report), report)
    claimed: set[str] = set()
    lines: list[str] = []
    for name in sorted(families):
        family = families[name]
        shown = {name + suffix for suffix in SUFFIXES[family.kind]}
        if name.startswith(RESERVED_PREFIX) or shown & _TAKEN or shown & claimed:
            report.dropped.append(name)
            continue
        claimed |= shown
        lines += _lines(family, openmetrics)
    lines.append("")
    return "\n".join(lines).encode(), report


# --- reading --------------------------------------------------------------------------------------


def _values(directory: str, report: Report) -> dict[tuple[str, bytes, str], _Value]:
    """What the files say, by kind, key and, for gauges that are shown for each process, identity."""
    values: dict[tuple[str, bytes, str], _Value] = {}
    try:
        locks_fd = os.open(os.path.join(directory, LOCKS), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        locks_fd = -1  # nobody has ever had a place
    for name in sorted(os.listdir(directory)):
        parts = value_files.split_name(name)
        if parts is None:
            continue
        kind, identity = parts
        boot = identity.startswith("boot")
        if (kind.startswith("gauge_live") or (boot and kind in GAUGE_KINDS)) and not _alive(locks_fd, identity):
            continue
        try:
            content = value_files.read(os.path.join(directory, name))
        except FileNotFoundError:
            continue  # a gauge of a process that has just ended
        except OSError:
            report.damaged.append(name)
            continue
        if not content.whole:
            report.damaged.append(name)
        kind, mode = _mode(kind)
        whose = identity if mode == "all" else ""
        for key, value, timestamp in content.entries:
            if boot and kind == "gauge" and value == 0.0 and not timestamp:
                continue  # defined by the import, and not set
            known = values.get((kind, key, whose))
            if known is None:
                values[kind, key, whose] = _Value(mode, value, timestamp)
            else:
                known.put(value, timestamp)
    if locks_fd >= 0:
        os.close(locks_fd)
    return values


def _alive(locks_fd: int, identity: str) -> bool:
    if identity.isdecimal():  # of a program that the application started: by pid
        return os.path.exists(f"/proc/{identity}")
    return locks_fd >= 0 and value_files.is_held(locks_fd, identity)


def _mode(kind: str) -> tuple[str, str]:
    """A file's kind as that of a family, and how its values are put together."""
    if kind not in GAUGE_KINDS:
        return kind, "sum"
    return "gauge", kind.removeprefix("gauge_").removeprefix("live")


def _families(values: dict[tuple[str, bytes, str], _Value], report: Report) -> dict[str, _MergedFamily]:
    """By name. What was another kind of metric in code that is gone by now is left out."""
    families: dict[str, _MergedFamily] = {}
    known_keys: dict[bytes, _Key | None] = {}
    for (kind, key, whose), found in values.items():
        if key not in known_keys:
            known_keys[key] = _parse_key(key)
        parsed = known_keys[key]
        if parsed is None:
            report.damaged.append(f"a key of a {kind}")
            continue
        metric, sample, labels, text = parsed
        if whose:
            labels = {**labels, "pid": whose.removeprefix("slot")}
        family = families.setdefault(metric, _MergedFamily(metric, kind, text))
        if family.kind != kind:
            report.dropped.append(f"{metric} ({kind})")
            continue
        place = (sample, tuple(labels.items()))
        known = family.samples.get(place)
        if known is None:
            family.samples[place] = found
        elif known.mode == found.mode:  # a new help text, or another version of prometheus_client, makes another key
            known.put(found.value, found.timestamp)
        else:
            report.dropped.append(f"{metric} ({found.mode})")
    return families


def _parse_key(key: bytes) -> _Key | None:
    """Names of metric and sample as they are shown, labels, help."""
    try:
        parts = json.loads(key)
        metric, sample, labels = parts[:3]
        text = parts[3] if len(parts) > 3 else MULTIPLE_PROCESSES
        shown = {_NOT_IN_LABELS.sub("_", name): str(value) for name, value in sorted(labels.items())}
        return _safe(metric), _safe(sample), shown, str(text)
    except (ValueError, TypeError, AttributeError, IndexError):
        return None


def _safe(name: str) -> str:
    """A name that every scraper reads: newer ones may have any characters."""
    name = _NOT_IN_NAMES.sub("_", name)
    return f"_{name}" if name[:1].isdecimal() else name


# --- writing --------------------------------------------------------------------------------------


def _lines(family: _MergedFamily, openmetrics: bool) -> Iterator[str]:
    name, kind = family.name, family.kind
    shown = f"{name}_total" if kind == "counter" and not openmetrics else name
    yield f"# HELP {shown} {escaped(family.help) if openmetrics else escaped_help(family.help)}"
    yield f"# TYPE {shown} {kind}"
    samples = _accumulated(family) if kind == "histogram" else ((*at, found.value) for at, found in _sorted(family))
    for sample, labels, value in samples:
        pairs = ",".join([f'{label}="{escaped(text)}"' for label, text in labels])
        yield f"{sample}{{{pairs}}} {_number(value)}" if pairs else f"{sample} {_number(value)}"


def _sorted(family: _MergedFamily) -> list[tuple[tuple[str, Labels], _Value]]:
    """All samples of one label set together, as OpenMetrics wants them."""
    return sorted(family.samples.items(), key=lambda item: (item[0][1], item[0][0]))


def _accumulated(family: _MergedFamily) -> Iterator[tuple[str, Labels, float]]:
    """A histogram's samples: files hold each bucket on its own, and no count."""
    buckets: dict[Labels, list[tuple[float, str, float]]] = {}
    sums: dict[Labels, float] = {}
    for (sample, labels), found in _sorted(family):
        bound = next((text for label, text in labels if label == "le"), None)
        if sample == f"{family.name}_sum":
            sums[labels] = found.value
        elif sample == f"{family.name}_bucket" and bound is not None:
            series = tuple(pair for pair in labels if pair[0] != "le")
            try:
                buckets.setdefault(series, []).append((float(bound), bound, found.value))
            except ValueError:
                continue
    for series, found_buckets in buckets.items():
        count = 0.0
        for _bound, text, value in sorted(found_buckets):
            count += value
            yield f"{family.name}_bucket", (*series, ("le", text)), count
        yield f"{family.name}_count", series, count
        if series in sums:
            yield f"{family.name}_sum", series, sums[series]


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


# --- the process ----------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """`DIRECTORY text|openmetrics`: writes a line of JSON (a Report, or {"error": …}), then the body."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    directory, form = arguments
    body = b""
    try:
        body, report = merge(directory, form == "openmetrics")
        said: dict[str, object] = {
            "dropped": sorted(set(report.dropped))[:MAX_NAMED],
            "damaged": sorted(set(report.damaged))[:MAX_NAMED],
            "bytes": len(body),
        }
        if len(body) > MAX_BODY_BYTES:
            body, said = (
                b"",
                {"error": f"the exposition has {len(body)} bytes, and at most {MAX_BODY_BYTES} are served"},
            )
    except (OSError, MemoryError) as error:
        said = {"error": str(error) or "more memory is needed than it may have"}
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + body)
    sys.stdout.buffer.flush()
