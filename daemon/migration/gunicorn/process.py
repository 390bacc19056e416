"""gunicorn's settings about the process, its control socket, and its dirty arbiters."""

from __future__ import annotations

from ..conversions import account, octal, off_if, path
from ..setting import Takes, built_in, left_out, like, nothing, same

PROCESS = (
    left_out(
        "daemon",
        "miniwsgi stays in the foreground: systemd (miniwsgi install-service) or the container runs it.",
        "-D",
        "--daemon",
        takes=Takes.ON,
    ),
    same("pidfile", "server.pid_file", path, "systemd needs none.", "-p", "--pid"),
    same("user", "server.user", account, "", "-u", "--user"),
    same("group", "server.group", account, "", "-g", "--group"),
    same("umask", "server.umask", octal, "", "-m", "--umask"),
    built_in("initgroups", "The user's groups are always taken.", "--initgroups", takes=Takes.ON),
    built_in(
        "worker_tmp_dir",
        "Heartbeats are in shared memory, so that no /dev/shm has to be named.",
        "--worker-tmp-dir",
    ),
    same("tmp_upload_dir", "server.spool_directory", path, "Where large request bodies wait."),
    built_in("proc_name", "ps shows the application and each worker's slot.", "-n", "--name"),
    built_in("default_proc_name", "As proc_name."),
)

CONTROL = (
    same("control_socket", "control.socket", path, "miniwsgictl speaks to it.", "--control-socket"),
    same("control_socket_mode", "control.mode", octal, "", "--control-socket-mode"),
    like(
        "control_socket_disable",
        "control.socket",
        off_if,
        'control.socket = "off": then there is no miniwsgictl.',
        "--no-control-socket",
        takes=Takes.ON,
    ),
)

QUEUE = "Dirty arbiters: a task queue (Celery, RQ, Dramatiq) beside miniwsgi does such work."
DIRTY = (
    nothing("dirty_apps", QUEUE, "--dirty-app", takes=Takes.MANY),
    nothing("dirty_workers", QUEUE, "--dirty-workers"),
    nothing("dirty_timeout", QUEUE, "--dirty-timeout"),
    nothing("dirty_threads", QUEUE, "--dirty-threads"),
    nothing("dirty_graceful_timeout", QUEUE, "--dirty-graceful-timeout"),
    nothing("on_dirty_starting", QUEUE),
    nothing("dirty_post_fork", QUEUE),
    nothing("dirty_worker_init", QUEUE),
    nothing("dirty_worker_exit", QUEUE),
)
