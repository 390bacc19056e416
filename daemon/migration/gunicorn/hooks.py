"""gunicorn's hooks: what to write instead. `became` names the function of the module of app.hooks, where there is
one."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Fate, Setting


@dataclass(frozen=True, slots=True)
class Hook:
    name: str
    fate: Fate
    says: str
    became: str = ""  # a function's head, as it is written in the module of app.hooks


ONCE = "once, in one worker of the service,"
HOOKS = (
    Hook(
        "on_starting",
        Fate.EQUIVALENT,
        "Before anything runs: ExecStartPre= in the unit (migrations, directories), or, for what is to run "
        + ONCE
        + " leader_start.",
        "leader_start(worker)",
    ),
    Hook(
        "on_reload",
        Fate.EQUIVALENT,
        "A reload boots a new generation: what the application does when it is imported happens again by itself.",
        "loaded(app)",
    ),
    Hook(
        "when_ready",
        Fate.EQUIVALENT,
        "systemd is told by itself (Type=notify). What is to run " + ONCE + " is leader_start; a touch of a file for a "
        "load balancer is /readyz of metrics.bind.",
        "leader_start(worker)",
    ),
    Hook(
        "pre_fork",
        Fate.EQUIVALENT,
        "loaded runs in the process that forks, after the import.",
        "loaded(app)",
    ),
    Hook("post_fork", Fate.EQUIVALENT, "In every worker, before it is ready.", "worker_start(worker)"),
    Hook(
        "post_worker_init",
        Fate.EQUIVALENT,
        "In every worker, before it is ready, preloaded or not.",
        "worker_start(worker)",
    ),
    Hook(
        "worker_int",
        Fate.EQUIVALENT,
        "worker_drain runs when a worker is told to finish. The stacks of threads, for which it is often used: "
        "miniwsgictl stack.",
        "worker_drain(worker)",
    ),
    Hook(
        "worker_abort",
        Fate.BUILT_IN,
        "The stacks of all threads are logged when a request exceeds timeouts.request or a worker hangs.",
    ),
    Hook(
        "pre_exec",
        Fate.BUILT_IN,
        "A reload takes new code and configuration, and the listening sockets stay; no USR2, no second master.",
    ),
    Hook(
        "pre_request",
        Fate.EQUIVALENT,
        "A WSGI middleware around the application. Durations and slow requests are measured (metrics, "
        "log.slow_request).",
    ),
    Hook(
        "post_request",
        Fate.EQUIVALENT,
        "A WSGI middleware around the application, that wraps the result and its close(). Counts and durations are "
        "measured.",
    ),
    Hook(
        "child_exit",
        Fate.BUILT_IN,
        "A worker's exit is in the log, the events and the metrics. prometheus_client.multiprocess.mark_process_dead "
        "is not needed: what the application counts is merged (metrics.application).",
    ),
    Hook("worker_exit", Fate.EQUIVALENT, "In the worker, before it exits.", "worker_stop(worker, reason)"),
    Hook("nworkers_changed", Fate.BUILT_IN, "It is in the log, the events (miniwsgictl events) and the metrics."),
    Hook(
        "on_exit",
        Fate.EQUIVALENT,
        "What ran " + ONCE + " ends in leader_stop; after everything, ExecStopPost= in the unit.",
        "leader_stop(worker)",
    ),
)
BY_NAME = {hook.name: hook for hook in HOOKS}


def sentence(hook: Hook) -> str:
    return f"{hook.became.partition('(')[0]} in app.hooks. {hook.says}" if hook.became else hook.says


SETTINGS = tuple(Setting(hook.name, hook.fate, sentence(hook), "app.hooks" if hook.became else "") for hook in HOOKS)
