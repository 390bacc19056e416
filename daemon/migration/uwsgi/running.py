"""uWSGI's options about the process, its logs, and all that it does beside serving."""

from __future__ import annotations

from ..conversions import account, octal, path
from ..setting import built_in, left_out, like, same
from . import values

PROCESS = (
    same("uid", "server.user", account),
    same("gid", "server.group", account),
    same("umask", "server.umask", octal),
    same("pidfile", "server.pid_file", path, "systemd needs none."),
    same("safe-pidfile", "server.pid_file", path, "", "pidfile2 safe-pidfile2"),
    left_out(
        "daemonize",
        "miniwsgi stays in the foreground: systemd (miniwsgi install-service) or the container runs it; its log "
        "becomes log.file.",
        "daemonize2 -d",
    ),
    built_in("vacuum", "Sockets and the pid file are removed."),
    built_in("die-on-term", "TERM always stops."),
    built_in("exit-on-reload", "A reload is a new generation of processes."),
    built_in(
        "auto-procname",
        "ps shows the application and each worker's slot.",
        "procname procname-prefix procname-prefix-spaced procname-append procname-master",
    ),
    built_in("close-on-exec", "Descriptors are not inherited.", "close-on-exec2"),
    built_in("max-fd", "The soft limit of descriptors is raised to the hard one."),
    built_in("add-gid", "The user's groups are taken (initgroups)."),
    left_out("chroot", "systemd: RootDirectory=, and the hardening of our unit.", "cap unshare namespace cgroup"),
    left_out("prio", "systemd: Nice=."),
    left_out(
        "emperor",
        "systemd: an instance for each application (miniwsgi@shop).",
        "vassals-include vassal-set emperor-tyrant",
    ),
    left_out("zerg", "A reload replaces workers without losing a connection.", "zerg-server"),
    like("master-fifo", "control.socket", None, "miniwsgictl, over the control socket."),
    built_in(
        "ignore-sigpipe",
        "Clients that leave are no errors.",
        "ignore-write-errors disable-write-exception disable-sendfile",
    ),
    left_out("honour-stdin", 'For a debugger: server.pool = "single".'),
    left_out(
        "hook-pre-app",
        "ExecStartPre= in the unit.",
        "exec-asap exec-pre-jail exec-post-jail exec-pre-app exec-in-jail exec-as-root hook-asap hook-pre-jail "
        "hook-post-jail hook-as-root "
        "hook-master-start",
    ),
    left_out(
        "exec-as-user-atexit", "ExecStopPost= in the unit.", "exec-as-emperor hook-as-user-atexit hook-as-emperor"
    ),
    like(
        "exec-as-user",
        "app.hooks",
        None,
        "ExecStartPre= in the unit, or leader_start in app.hooks.",
        "hook-as-user hook-post-app exec-post-app",
    ),
    like(
        "hook-accepting1",
        "app.hooks",
        None,
        "worker_ready in app.hooks; for the first one leader_start.",
        "hook-accepting hook-accepting-once hook-accepting1-once hook-touch",
    ),
    built_in("ini", "The file that is named is read, and its section.", "include yaml xml json inherit"),
)

PROMETHEUS = "Metrics and health for Prometheus and for you: metrics.bind, and miniwsgictl top."

LOGS = (
    like("disable-logging", "log.access_log", None, "The access log is off by default; uWSGI's is on.", "-L"),
    same("logto", "log.file", values.log_file, "", "logto2"),
    same("logger", "log.file", values.log_file),
    same("req-logger", "log.access_log", values.log_file, "", "logger-req"),
    same("log-format", "log.access_log_format", values.log_format, "With the atoms of gunicorn's format.", "logformat"),
    like("log-slow", "log.slow_request", values.milliseconds, "Told once, while it still runs, with its path."),
    built_in("log-master", "The master writes the logs.", "threaded-logger log-master-bufsize log-master-stream"),
    built_in("log-date", "Each line has its time.", "logdate log-prefix log-micros logformat-strftime"),
    built_in("log-x-forwarded-for", "With proxy.trusted the client's address is the one that the proxy names."),
    like("log-4xx", "log.access_lines", None, 'log.access_lines = "problems".', "log-5xx"),
    left_out(
        "log-big", 'log.access_lines = "problems", or all; metrics count answers by status.', "log-zero log-ioerror"
    ),
    left_out("log-maxsize", "logrotate and SIGUSR1, or the journal.", "log-backupname log-truncate"),
    like("touch-logreopen", "", None, "SIGUSR1 reopens the logs.", "touch-logrotate log-reopen"),
    left_out("log-syslog", "The journal, which passes it on (ForwardToSyslog=).", "log-socket log-zeromq"),
    left_out("log-encoder", 'log.format = "json" and log.access_log_format = "json".', "log-req-encoder"),
    left_out("log-route", "The error log and the access log are apart.", "log-req-route log-drain log-filter"),
    built_in("memory-report", "Metrics have each worker's memory, and miniwsgictl memory what it holds.", "-m"),
    like("stats", "metrics.bind", None, PROMETHEUS, "stats-server stats-push"),
    like("stats-http", "metrics.bind", None, PROMETHEUS, "stats-minified stats-no-cores"),
    like("carbon", "metrics.bind", None, PROMETHEUS, "carbon-id enable-metrics metric metrics-dir"),
    left_out("show-config", "The command miniwsgi config."),
)

QUEUE = (
    "A process of its own, with a unit of its own: Celery, RQ or Dramatiq; APScheduler can live in leader_start of "
    "app.hooks."
)


BESIDE = (
    left_out(
        "attach-daemon",
        "A unit of its own, beside miniwsgi's (Wants=, PartOf=).",
        "attach-daemon2 smart-attach-daemon smart-attach-daemon2 legion-attach-daemon",
    ),
    left_out("mule", QUEUE, "mules farm"),
    left_out("spooler", QUEUE, "spooler-processes spooler-frequency spooler-import spooler-external"),
    left_out("cron", "A systemd timer, or cron.", "cron2 unique-cron legion-cron timer"),
    left_out("cache2", "Redis or memcached; or the framework's cache.", "cache cache-blocksize cache-store"),
    left_out("queue", "Redis, or another queue.", "sharedarea locks"),
    left_out(
        "legion",
        "leader_start in app.hooks runs in one worker of a service; across machines, a lock in the database.",
        "legion-mcast legion-node legion-lord",
    ),
    left_out(
        "websocket-max-size",
        "uwsgi.websocket_*() is uWSGI's alone; flask-sock has options of its own.",
        "websocket-ping-freq",
    ),
)
