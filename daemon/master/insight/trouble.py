"""Rules about what does not serve at all, or serves errors."""

from __future__ import annotations

from collections import Counter

from miniwsgi.manager import messages as ms

from .evidence import PastEvent
from .finding import finding
from .picture import Picture
from .wording import ago, count, percent

FAILING_SHARE = 0.05
FAILING_ANSWERS = 5
REPEATED = 2  # within the hour: once is an accident
LATELY_SECONDS = 600.0
SHOWN = 3
LOSSES = {
    "worker.wedged": "wedged",
    "worker.failed": "did not boot",
    "request.timeout": "ran beyond timeouts.request",
}
CRASHED = ("crash", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "memory")


def not_serving(picture: Picture) -> ms.Finding | None:
    """Nobody is there to answer."""
    evidence = picture.evidence
    if evidence.verdict != "down" or any("not responding" in reason for reason in evidence.reasons[:1]):
        return None
    sentence = f"The daemon answers nobody: {'; '.join(evidence.reasons)}."
    latest = [f"{ago(event.seconds_ago)}: {event.message}" for event in evidence.events[-4:]]
    return finding("not-serving", "critical", sentence, latest, "miniwsgictl events, and the error log")


def crashing(picture: Picture) -> ms.Finding | None:
    """One request that ends workers again and again, of late."""
    evidence = picture.evidence
    lately = [event for event in evidence.events if _is_crash(event) and event.seconds_ago <= LATELY_SECONDS]
    if not evidence.repeated or len(lately) < REPEATED:
        return None
    sentence = f"One request crashes workers: {evidence.repeated}; {len(lately)} crashed within the last 10 min."
    lines = [f"{ago(event.seconds_ago)}: {event.message}" for event in lately[-SHOWN:]]
    return finding("crashing", "critical", sentence, lines, "miniwsgictl crashes -v has the stacks")


def missing(picture: Picture) -> ms.Finding | None:
    """Some of the workers are not there."""
    evidence = picture.evidence
    there = len(evidence.workers)
    if evidence.verdict == "down" or there >= evidence.target_workers:
        return None
    sentence = f"{there} of {count(evidence.target_workers, 'worker')} {'is' if there == 1 else 'are'} ready."
    return finding("missing", "warning", sentence, evidence.reasons, "miniwsgictl workers shows their last exits")


def failing(picture: Picture) -> ms.Finding | None:
    """Answers of 5xx."""
    failed, total = picture.evidence.server_errors, max(picture.answered, picture.evidence.server_errors)
    if failed < FAILING_ANSWERS or failed < FAILING_SHARE * total:
        return None
    sentence = f"{percent(failed / total)} of the answers are errors: {failed} of {total} were 5xx."
    return finding("failing", "critical", sentence, [], "the error log has their tracebacks")


def losses(picture: Picture) -> ms.Finding | None:
    """Workers and requests that were lost within the hour, more than once."""
    found: Counter[str] = Counter()
    latest: dict[str, str] = {}
    for event in picture.evidence.events:
        if _is_crash(event):
            what = "crashed or were killed"
        elif event.kind in LOSSES:
            what = LOSSES[event.kind]
        else:
            continue
        found[what] += 1
        latest[what] = f"{ago(event.seconds_ago)}: {event.message}"
    repeated = {what: times for what, times in found.items() if times >= REPEATED}
    if not repeated:
        return None
    said = "; ".join(
        f"{times} {'requests' if 'timeouts' in what else 'workers'} {what}" for what, times in repeated.items()
    )
    alike = f" ({picture.evidence.repeated})" if picture.evidence.repeated else ""
    sentence = f"Within the last hour {said}{alike}."
    return finding("losses", "warning", sentence, [latest[what] for what in repeated], "miniwsgictl crashes")


def slow_lately(picture: Picture) -> ms.Finding | None:
    """Requests of the last hour that were slow and are over: what comes and goes is not there when one looks."""
    found = picture.evidence.slow
    if len(found) < REPEATED:
        return None
    (name, times), *_ = Counter(one.name for one in found).most_common(1)
    places = Counter(one.where for one in found if one.where and one.name == name).most_common(1)
    where = f", last seen at {places[0][0]}" if places else ""
    which = "all of them" if times == len(found) else f"{times} of them"
    sentence = f"{len(found)} requests were slow within the last hour, {which} {name}{where}."
    return finding("slow-lately", "note", sentence, [], "miniwsgictl slow")


def _is_crash(event: PastEvent) -> bool:
    return event.kind == "worker.exited" and any(word in event.message for word in CRASHED)
