"""What a configuration has for a launcher and its workers: the application's environment, and their settings."""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ..settings import Listener, Settings, StaticFiles
from .configuration import Config
from .environment import DAEMONS_OWN
from .static_files import StaticEntry


def application_environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the application: the daemon's without what is its own, then env_files, then env.

    With server.user, HOME, USER and LOGNAME are that user's, as systemd's User= does it.
    Looks that user up: blocks.
    """
    not_for_it = DAEMONS_OWN.union(config.dropped)
    result = {name: value for name, value in environ.items() if name not in not_for_it}
    if "PWD" in result:
        result["PWD"] = config.app.directory
    if config.server.user:
        try:
            is_number = config.server.user.isdigit()
            entry = pwd.getpwuid(int(config.server.user)) if is_number else pwd.getpwnam(config.server.user)
            result.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
        except KeyError:
            for name in ("HOME", "USER", "LOGNAME"):
                result.pop(name, None)
    result.update(config.file_variables)
    result.update(config.app.env)
    return result


def worker_settings(
    config: Config,
    *,
    generation: int,
    listeners: Sequence[Listener],
    scoreboard_fd: int,
    journal: bool = False,
    app_metrics_directory: str = "",
) -> Settings:
    """What a launcher and its workers need to know of the configuration."""
    app, server, limits, timeouts, proxy = config.app, config.server, config.limits, config.timeouts, config.proxy
    return Settings(
        generation=generation,
        listeners=tuple(listeners),
        scoreboard_fd=scoreboard_fd,
        module=app.target,
        factory=bool(app.factory),
        revision=app.revision,
        directory=app.directory,
        python_path_dropped="PYTHONPATH" in config.dropped,
        preload=app.preload,
        hooks=app.hooks,
        boot_check=app.boot_check,
        pool=server.pool,
        threads=server.threads,
        engine=server.engine,
        script_name=server.script_name,
        script_name_stripped=server.script_name_stripped,
        server_header=server.server_header,
        request_id_header=server.request_id_header,
        switch_interval=server.switch_interval,
        spool_directory=server.spool_directory,
        static=tuple(map(_static_files, config.static)),
        request_line_bytes=limits.request_line,
        field_bytes=limits.field_size,
        fields=limits.fields,
        fields_bytes=limits.fields_size,
        body_max_bytes=limits.body_max,
        body_memory_bytes=limits.body_memory,
        connections=limits.connections,
        in_flight=limits.in_flight,
        sockets=limits.sockets,
        handshake_timeout=timeouts.handshake,
        head_timeout=timeouts.head,
        body_timeout=timeouts.body,
        send_timeout=timeouts.send,
        minimum_rate=timeouts.minimum_rate,
        keep_alive_timeout=timeouts.keep_alive,
        request_timeout=timeouts.request,
        graceful_timeout=timeouts.graceful,
        hook_timeout=timeouts.hook,
        drain_idle=timeouts.drain_idle,
        sockets_timeout=timeouts.sockets,
        max_requests=config.recycle.max_requests,
        max_requests_jitter=config.recycle.max_requests_jitter,
        max_lifetime=config.recycle.max_lifetime,
        max_rss_bytes=config.recycle.max_rss,
        app_metrics_directory=app_metrics_directory,
        routes=config.metrics.routes,
        trusted=proxy.trusted,
        forwarded=proxy.fields == "forwarded",
        hops=proxy.hops,
        client_field=proxy.client_field,
        scheme_field=proxy.scheme_field,
        host_field=proxy.host_field,
        port_field=proxy.port_field,
        prefix_field=proxy.prefix_field,
        prefix_stripped=proxy.prefix_stripped,
        log_level=config.log.level,
        log_format=config.log.format,
        log_file=config.log.file,
        application_level=config.log.application_level,
        journal=journal,
        access_log=config.log.access_log,
        access_log_format=config.log.access_log_format,
        access_skip=config.log.access_skip,
        access_lines=config.log.access_lines,
        access_slow=config.log.access_slow,
        slow_request=config.log.slow_request,
    )


def _static_files(entry: StaticEntry) -> StaticFiles:
    options = asdict(entry)
    return StaticFiles(index_name=options.pop("index"), **options)
