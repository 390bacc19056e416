"""What is risky about a daemon at rest: a check for each name, on what was looked at. Pure."""

from __future__ import annotations

from datetime import datetime

from miniwsgi.manager import messages as ms

from .register import CHECKS, Found, Unseen, check
from .rest import Rest, Room

MEBIBYTE, GIBIBYTE = 1 << 20, 1 << 30
FULL_MEMORY = 0.9  # of what there is
# Of a file system: a share is little if it is no matter of many GiB, bytes are few if they are no small tmpfs, empty.
LITTLE_ROOM, LITTLE_SHARE_BYTES, LITTLE_BYTES = 0.05, 10 * GIBIBYTE, 256 * MEBIBYTE
NO_ROOM, NO_SHARE_BYTES, NO_BYTES = 0.01, GIBIBYTE, 32 * MEBIBYTE
SMALL_ROOM = 0.2
LARGE_LOG_BYTES = 100 * MEBIBYTE
OWN_DESCRIPTORS = 64  # of a worker, beside its connections
CERTIFICATE_SECONDS = 14 * 86400.0
SEVERITIES: tuple[ms.Severity, ...] = ("critical", "warning", "note")


def examine(rest: Rest, at: datetime) -> ms.Doctor:
    """Every check, the gravest risk first."""
    risks, passed, unknown = [], [], []
    for name, function in CHECKS.items():
        try:
            found = function(rest)
        except Unseen:
            unknown.append(name)
            continue
        if found is None:
            passed.append(name)
        else:
            risks.append(ms.Risk(name, *found))
    risks.sort(key=lambda risk: SEVERITIES.index(risk.severity))
    return ms.Doctor(at, risks, passed, unknown)


# --- what new code and old requests may do ---


@check("boot-check")
def _boot_check(rest: Rest) -> Found:
    if rest.boot_check:
        return None
    return (
        "warning",
        "New code goes live before it has answered anything: code that imports, and fails at each request, is in "
        "force.",
        'app.boot_check = "/a/page" has it answer that page first, or the reload fails',
    )


@check("request-timeout")
def _request_timeout(rest: Rest) -> Found:
    if rest.request_timeout:
        return None
    return (
        "warning",
        "A request may run for ever: one that hangs keeps its thread until somebody restarts the worker.",
        'timeouts.request = "60s", or what the slowest page needs',
    )


@check("wedge")
def _wedge(rest: Rest) -> Found:
    if rest.wedge_timeout:
        return None
    return "warning", "A worker that hangs is never replaced: timeouts.wedge is off.", 'timeouts.wedge = "30s"'


@check("last-reload")
def _last_reload(rest: Rest) -> Found:
    if rest.reload_error is None:
        return None
    return (
        "warning",
        f"The last reload failed: what runs is not what was deployed ({rest.reload_error}).",
        "mend it, then miniwsgictl reload",
    )


@check("stale-code")
def _stale_code(rest: Rest) -> Found:
    if not rest.newer_source:
        return None
    if rest.preloaded:
        return (
            "note",
            f"Code on disk is newer than what runs: {rest.newer_source} has changed since.",
            "miniwsgictl reload",
        )
    return (
        "warning",
        f"{rest.newer_source} has changed since the workers were started: the next that is started, after a crash or "
        "by a scale, runs other code than the rest.",
        "miniwsgictl reload, and app.preload = true if the application bears it",
    )


@check("upgraded")
def _upgraded(rest: Rest) -> Found:
    if rest.installed is None:
        raise Unseen
    if rest.installed == rest.version:
        return None
    return (
        "warning",
        f"miniwsgi {rest.version} runs, and {rest.installed} is installed: reloads fail until the daemon is restarted.",
        "systemctl restart miniwsgi",
    )


# --- how much there is of everything ---


@check("memory")
def _memory(rest: Rest) -> Found:
    limit = min((size for size in (rest.memory_limit, rest.memory_bytes) if size), default=None)
    if rest.pss_bytes is None or limit is None:
        raise Unseen
    needed = rest.workers * rest.pss_bytes
    if needed <= FULL_MEMORY * limit:
        return None
    whose = "the cgroup's limit" if limit == rest.memory_limit else "the memory of this host"
    all_of_them = f"{rest.workers} workers of {_size(rest.pss_bytes)} each (PSS of the largest) are {_size(needed)}"
    return (
        "critical" if needed > limit else "warning",
        f"Memory will not do: {all_of_them}; {whose} is {_size(limit)}.",
        "fewer workers, more memory, or recycle.max_rss below the share of each",
    )


@check("memory-bound")
def _memory_bound(rest: Rest) -> Found:
    if rest.max_rss:
        return None
    return (
        "note",
        "Nothing bounds a worker's memory: one that leaks takes the host's.",
        "recycle.max_rss, or a limit for all (MemoryMax= of the unit), of which recycle.max_rss is then made",
    )


@check("single-worker")
def _single_worker(rest: Rest) -> Found:
    if rest.workers > 1:
        return None
    return (
        "note",
        "There is one worker: while it crashes, hangs or computes, nobody is served.",
        "server.workers = 2 or more",
    )


@check("too-many-workers")
def _too_many_workers(rest: Rest) -> Found:
    if rest.workers <= max(8, 4 * rest.cpus):
        return None
    return (
        "note",
        f"{rest.workers} workers share {rest.cpus} CPU{'' if rest.cpus == 1 else 's'}: each costs memory, and threads "
        "wait as well.",
        "fewer server.workers, more server.threads",
    )


@check("backlog")
def _backlog(rest: Rest) -> Found:
    short = [one for one in rest.listeners if one.limit is not None and one.limit < rest.backlog]
    if not short:
        return None
    return (
        "warning",
        f"{short[0].name} lets {short[0].limit} connections wait, not server.backlog, {rest.backlog}: the kernel's "
        "limit is less.",
        f"sysctl net.core.somaxconn={rest.backlog}, and restart",
    )


@check("descriptors")
def _descriptors(rest: Rest) -> Found:
    if rest.descriptors is None:
        raise Unseen
    if rest.descriptors >= rest.connections + OWN_DESCRIPTORS:
        return None
    return (
        "warning",
        f"A worker may have {rest.descriptors} descriptors, and limits.connections lets it have {rest.connections} "
        "connections.",
        f"LimitNOFILE={2 * rest.connections} in the unit, or limits.connections = "
        f"{max(1, rest.descriptors - OWN_DESCRIPTORS)}",
    )


@check("disk")
def _disk(rest: Rest) -> Found:
    if not rest.rooms:
        raise Unseen
    scarce = [one for one in rest.rooms if _is_full(one, LITTLE_ROOM, LITTLE_SHARE_BYTES, LITTLE_BYTES)]
    if not scarce:
        return None
    worst = min(scarce, key=lambda room: room.free_share)
    return (
        "critical" if _is_full(worst, NO_ROOM, NO_SHARE_BYTES, NO_BYTES) else "warning",
        f"The disk of {worst.what} is nearly full: {_size(worst.free_bytes)} are left "
        f"({100 * worst.free_share:.1f} %).",
        "make room, or put it elsewhere",
    )


# --- what is written ---


@check("log-rotation")
def _log_rotation(rest: Rest) -> Found:
    alone = [log for log in rest.logs if not log.rotated]
    if not alone:
        return None
    worst = max(alone, key=lambda log: log.size_bytes)
    return (
        "warning" if worst.size_bytes >= LARGE_LOG_BYTES else "note",
        f"Nothing is seen to rotate {worst.path} ({worst.key}), which has {_size(worst.size_bytes)}.",
        'logrotate with `kill -USR1` of the master in postrotate, or the journal (log.file = "-")',
    )


@check("debug")
def _debug(rest: Rest) -> Found:
    found = [*rest.environment]
    if rest.reload_on_change:
        found.append("server.reload_on_change = true")
    if rest.log_level == "debug":
        found.append("log.level = debug")
    if not found:
        return None
    grave = any(not one.startswith("log.level") for one in found)
    return (
        "warning" if grave else "note",
        f"Settings for development are on: {', '.join(found)}.",
        "switch them off in production",
    )


# --- who may what ---


@check("root")
def _root(rest: Rest) -> Found:
    if not rest.root:
        return None
    return (
        "warning",
        "The application runs as root: whoever breaks into it has the host.",
        "server.user, or User= of the unit",
    )


@check("proxy")
def _proxy(rest: Rest) -> Found:
    wide = [entry for entry in rest.trusted if _is_wide(entry)]
    public = [one.name for one in rest.listeners if one.public]
    if not wide or not public:
        return None
    return (
        "warning",
        f"proxy.trusted has {', '.join(wide)}, and {public[0]} can be reached from elsewhere: any client may say who "
        "it is.",
        "the addresses of the proxies alone, or a Unix socket for them",
    )


@check("control-mode")
def _control_mode(rest: Rest) -> Found:
    if not rest.control_mode & 0o002:
        return None
    return (
        "note",
        "Every user of this host may connect to the control socket (control.mode); what they may do is granted by "
        "name.",
        'control.mode = "0660", with control.group',
    )


@check("metrics-open")
def _metrics_open(rest: Rest) -> Found:
    if not rest.metrics_open:
        return None
    return (
        "warning",
        "Metrics and status page are open to whoever reaches this host.",
        "metrics.token_file, metrics.allow, or an address of 127.0.0.1 in metrics.bind",
    )


@check("certificate")
def _certificate(rest: Rest) -> Found:
    ending = [one for one in rest.certificates if one[1] < CERTIFICATE_SECONDS]
    if not ending:
        return None
    names, left = min(ending, key=lambda one: one[1])
    if left <= 0:
        return "critical", f"The certificate of {names} has expired.", "renew it: new files are taken by themselves"
    return "warning", f"The certificate of {names} ends in {left / 86400:.0f} days.", "see why it was not renewed"


# --- how it runs ---


@check("clock")
def _clock(rest: Rest) -> Found:
    if rest.synchronised is None:
        raise Unseen
    if rest.synchronised:
        return None
    return (
        "warning",
        "The clock of this host is not synchronised: logs, certificates and sessions go by it.",
        "systemd-timesyncd or chrony (timedatectl)",
    )


@check("preload")
def _preload(rest: Rest) -> Found:
    if rest.preloaded is None:
        raise Unseen
    if rest.preloaded or rest.preload == "false":
        return None
    return (
        "note",
        "Each worker imports the application for itself, for the import leaves what workers must not share: they take "
        "more memory, and one that is started later runs the code of then.",
        "the log names what it leaves (operations.md)",
    )


@check("engine")
def _engine(rest: Rest) -> Found:
    if rest.engine is None:
        raise Unseen
    if not rest.engine_note:
        return None
    return (
        "warning",
        f"The engine is {rest.engine}, which is slower than the compiled one: {rest.engine_note}.",
        "miniwsgi engine build",
    )


@check("scaled")
def _scaled(rest: Rest) -> Found:
    if rest.override is None:
        return None
    return (
        "note",
        f"There are {rest.override} workers as was asked for at runtime: a restart goes back to what is configured.",
        "server.workers, or miniwsgictl scale --persist",
    )


@check("state-directory")
def _state_directory(rest: Rest) -> Found:
    if not rest.persist_error:
        return None
    return "warning", f"The state directory cannot be used: {rest.persist_error}.", "control.state_directory"


@check("metrics-port")
def _metrics_port(rest: Rest) -> Found:
    if not rest.metrics_error:
        return None
    return "warning", f"There are no metrics and no health checks: {rest.metrics_error}.", "metrics.bind"


def _is_full(room: Room, share: float, share_bytes: int, few_bytes: int) -> bool:
    few = room.free_bytes < few_bytes and room.free_share < SMALL_ROOM
    return few or (room.free_share < share and room.free_bytes < share_bytes)


def _is_wide(entry: str) -> bool:
    """Whether it names more than any network of one's own has: all, or an eighth of the Internet."""
    _, slash, bits = entry.partition("/")
    return entry == "*" or (bool(slash) and bits.isdecimal() and int(bits) < 8)


def _size(value: int) -> str:
    for unit, factor in (("GiB", GIBIBYTE), ("MiB", MEBIBYTE), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value} B"
