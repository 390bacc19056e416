"""`status` as people read it: a headline, then a line a subject. Wide adds what is seldom asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Protocol

from ... import messages
from .. import text
from ..options import Session
from .operation_view import progress, revisions

COLOURS = {
    "running": "green",
    "starting": "yellow",
    "reloading": "cyan",
    "draining": "yellow",
    "stopping": "yellow",
    "stopped": "red",
}
VERDICT_COLOURS = {"healthy": "green", "degraded": "yellow", "down": "red"}
SUBJECT_COLUMN = 14
SOON_SECONDS = 14 * 86400  # a certificate that ends sooner should have been renewed


def verdict(found: messages.Verdict) -> str:
    """In a line: "degraded: 1 of 2 workers not responding for 5 s (MW3022)"."""
    return f"{found.level}: {'; '.join(reasons(found))}"


def reasons(found: messages.Verdict) -> list[str]:
    """Each with its code behind it: what looks for a phrase finds it where it always was."""
    coded = zip_longest(found.reasons, found.codes[: len(found.reasons)], fillvalue="")
    return [text.clean(f"{reason} ({code})" if code else reason) for reason, code in coded]


def lines(status: messages.Status, session: Session) -> list[str]:
    """What `status` prints."""
    state = session.styled(status.state, fg=COLOURS[status.state], bold=True)
    headline = (
        f"{session.styled(text.clean(status.application), bold=True)}: {state}, up {text.age(status.uptime_seconds)}"
    )
    judged = session.styled(verdict(status.verdict), fg=VERDICT_COLOURS[status.verdict.level], bold=True)
    found = [judged, headline]
    previous = ""
    for subject, said in _subjects(status, session):
        shown = "" if subject == previous else f"{subject}:"
        found.append(f"  {session.styled(f'{shown:<{SUBJECT_COLUMN}}', dim=True)}{said}")
        previous = subject
    return found


def _subjects(status: messages.Status, session: Session) -> Iterator[tuple[str, str]]:
    yield "daemon", f"miniwsgi {text.clean(status.version)}, pid {status.pid}, pool {_pool(status)}"
    yield "generation", _generation(status)
    if session.wide and status.revision:
        yield "revision", text.clean(f"{status.revision}, from {status.revision_source}")
    if status.engine is not None:
        yield "engine", text.clean(": ".join(filter(None, (status.engine, status.engine_note))))
    yield "workers", _workers(status.workers, session)
    if status.leader is not None:
        yield "leader", _leader(status.leader, session)
    if warning := _override(status.workers):
        yield "workers", session.styled(warning, fg="yellow")
    if status.persist_error:
        yield "workers", session.styled(text.clean(f"not kept: {status.persist_error}"), fg="red")
    for listener in status.listeners:
        yield "listeners", _listener(listener, session)
    for certificate in _certificates(status.listeners):
        yield "certificates", _certificate(certificate, session)
    if status.metrics_error:
        yield "metrics", session.styled(text.clean(f"off: {status.metrics_error}"), fg="red")
    yield "connections", text.connections(status.connections, status.sockets)
    yield "requests", _rates(status.requests)
    yield "requests", _now(status.requests)
    if session.wide or _mishaps(status.requests):
        yield "requests", _counted(status.requests)
    yield "answers", _alarming(errors(status.requests, status.requests.last_60s), status.requests.last_60s, session)
    if session.wide or len(status.generations) > 1:
        for generation in status.generations:
            yield "answers", _alarming(_by_generation(generation), generation.last_60s, session)
    yield "duration", _latency(status.duration)
    if session.wide:
        yield "duration", _latency(status.duration_total, since_start=True)
    yield "queue time", _latency(status.queue_time)
    if session.wide:
        yield "queue time", _latency(status.queue_time_total, since_start=True)
        yield "started", f"{status.started_at.astimezone():%Y-%m-%d %H:%M:%S %z}"
        yield "log level", status.log_level
        yield "you", f"may {'do everything' if status.role == 'admin' else status.role}"
    for hook in status.hooks:
        yield "under way", session.styled(running_hook(hook), fg="cyan")
    for operation in status.operations:
        yield "under way", session.styled(progress(operation), fg="cyan")
    if status.last_reload is not None:
        yield "last reload", _last_reload(status.last_reload, session)


def running_hook(hook: messages.RunningHook) -> str:
    """In a line: "hook worker_start of worker 3 for 2.1 s"."""
    who = f"worker {hook.slot}" if hook.slot is not None else f"the launcher of generation {hook.generation}"
    return text.clean(f"hook {hook.name} of {who} for {text.seconds(hook.age_seconds)}")


def _pool(status: messages.Status) -> str:
    return f"{status.pool}, {text.count(status.threads, 'thread')} a worker" if status.pool == "epoll" else status.pool


def _generation(status: messages.Status) -> str:
    if status.generation is None:
        return "none yet"
    how = "preloaded: its code is fixed" if status.preloaded else "not preloaded: each worker imports what lies on disk"
    return f"{text.generation(status.generation, status.revision)}, {how}"


def _workers(workers: messages.WorkerCounts, session: Session) -> str:
    ready = f"{workers.ready} of {workers.target} ready"
    if workers.ready < workers.target:
        ready = session.styled(ready, fg="yellow")
    others = {"busy": workers.busy, "booting": workers.booting, "draining": workers.draining, "stuck": workers.stuck}
    found = [ready, *(f"{number} {name}" for name, number in others.items() if number)]
    if workers.not_responding:
        found.append(session.styled(f"{workers.not_responding} not responding", fg="red"))
    return ", ".join(found)


def _leader(leader: messages.Leader, session: Session) -> str:
    who = f"worker {leader.slot} (pid {leader.pid})" if leader.slot is not None else "nobody"
    state = {"leading": "", "nobody": ""}.get(leader.state, f", {leader.state}")
    said = f"{who}{state}, for {text.age(leader.in_state_seconds)}"
    if leader.error:
        said += f": {text.clean(leader.error)}"
    if leader.next_in_seconds is not None:
        said += f"; another one is tried in {text.seconds(leader.next_in_seconds)}"
    return session.styled(said, fg="red") if leader.error else said


def _override(workers: messages.WorkerCounts) -> str:
    if workers.override is None:
        return ""
    kept = "also across a restart" if workers.persisted else "until a restart"
    return f"scaled to {workers.override}, {kept}; configured are {workers.configured}"


def _listener(listener: messages.ListenerStatus, session: Session) -> str:
    said = text.clean(listener.url) + (", PROXY protocol" if listener.proxy_protocol else "")
    if listener.client != "none":
        said += f", client certificates {text.clean(listener.client)}"
    if listener.redirect:
        said += f", redirects to {text.clean(listener.redirect)}"
    if listener.queued is None:
        return said
    queue = (
        f"{listener.queued} of {listener.queue_limit} queued" if listener.queue_limit else f"{listener.queued} queued"
    )
    full = listener.queue_limit is not None and listener.queued > listener.queue_limit / 2
    return f"{said}  {session.styled(queue, fg='red') if full else queue}"


def _certificates(listeners: Sequence[messages.ListenerStatus]) -> list[messages.Certificate]:
    """Each once: several addresses may have the same."""
    found: list[messages.Certificate] = []
    for listener in listeners:
        found += [one for one in listener.certificates if one not in found]
    return found


def _certificate(certificate: messages.Certificate, session: Session) -> str:
    left = (certificate.not_after - datetime.now(UTC)).total_seconds()
    names = text.clean(", ".join(certificate.names)) or text.clean(certificate.file)
    ends = f"{certificate.not_after:%Y-%m-%d}"
    said = f"until {ends}, in {text.age(left)}" if left > 0 else f"EXPIRED on {ends}"
    colour = "red" if left <= 0 else "yellow" if left < SOON_SECONDS else None
    return f"{names}  {session.styled(said, fg=colour) if colour else said}"


def _rates(requests: messages.RequestCounts) -> str:
    rates = requests.rates
    windows = (("1 s", rates.last_1s), ("10 s", rates.last_10s), ("1 min", rates.last_60s))
    known = ", ".join(f"{text.rate(value)}/s over {window}" for window, value in windows if value is not None)
    return f"{requests.total}" + (f"; {known}" if known else "")


def _now(requests: messages.RequestCounts) -> str:
    return f"{requests.in_flight} running, {requests.waiting} waiting for a thread"


def _mishaps(requests: messages.RequestCounts) -> int:
    return requests.errors + requests.rejected + requests.aborted + requests.timed_out


def _counted(requests: messages.RequestCounts) -> str:
    return (
        f"{text.count(requests.errors, 'uncaught exception')}, {requests.rejected} rejected, "
        f"{requests.aborted} cut off by clients, {requests.timed_out} timed out"
    )


class Counts(Protocol):
    """What has counted answers by the class of their status."""

    client_errors: int
    server_errors: int


def errors(counted: Counts, lately: messages.LastMinute) -> str:
    """Answers of 4xx and 5xx: since the start, and their share of the last minute's."""
    said = f"{counted.client_errors} 4xx, {counted.server_errors} 5xx"
    if not lately.answers:
        return said
    return f"{said}; last minute {text.share(lately.client_errors)} 4xx, {text.share(lately.server_errors)} 5xx"


def _alarming(said: str, lately: messages.LastMinute, session: Session) -> str:
    return session.styled(said, fg="red") if lately.server_errors else said


def _by_generation(counted: messages.GenerationCounts) -> str:
    who = f"generation {text.generation(counted.generation, counted.revision)}"
    workers = text.count(counted.workers, "worker")
    return f"{who}, {workers}: {text.count(counted.answers, 'answer')}, {errors(counted, counted.last_60s)}"


def _latency(latency: messages.Latency, since_start: bool = False) -> str:
    window = "since the start" if since_start else f"over {text.age(latency.window_seconds)}"
    if not latency.count:
        return f"none {window}"
    return f"{percentiles(latency.shown)}  {window}"


def percentiles(known: messages.Percentiles) -> str:
    return text.clean(f"p50 {known.p50}  p95 {known.p95}  p99 {known.p99}")


def _last_reload(last: messages.LastReload, session: Session) -> str:
    code = revisions(last)
    when = f"{text.ago(last.ended_at)}, took {text.seconds(last.seconds)}{f', {code}' if code else ''}, by {last.who}"
    if last.result == "succeeded":
        return f"{session.styled('done', fg='green')} {text.clean(when)}"
    said = f"{session.styled(last.result, fg='red', bold=True)} {text.clean(when)}"
    return f"{said}: {text.clean(last.error)}" if last.error else said
