"""Pool single: this very process serves, in the foreground and without a master."""

from __future__ import annotations

import os

from miniwsgi.codes import Code
from miniwsgi.metrics.board import Board

from ..config import Config, worker_settings
from ..log.error_log import detect_journal
from ..master.certificates.files import CertificateFiles
from ..master.certificates.installed import Certificates
from ..master.running.configurations import PreparedConfig, addresses, socket_options
from ..master.sockets.listeners import BindError, open_listeners
from ..master.system.process import StartError, drop_privileges
from ..master.system.systemd import listen_fds
from ..tls.verification import UnusableError
from ..worker.lifecycle import run_single
from .terminal import EXIT_RUNTIME, complain


def serve_single(config: Config) -> int:
    """Serve in this very process, without a master. Returns the exit status."""
    server = config.server
    if server.umask is not None:
        os.umask(server.umask)
    try:
        certificates = Certificates.load(server.bind, CertificateFiles(os.environ))
        listeners = open_listeners(addresses(config), socket_options(config), passed=listen_fds(os.environ))
        prepared = PreparedConfig.of(config, listeners, os.environ, certificates)
        drop_privileges(server.user, server.group)
    except UnusableError as error:
        complain(Code.CERTIFICATE_UNUSABLE, str(error))
        return EXIT_RUNTIME
    except (BindError, StartError) as error:
        complain(error.code, str(error))
        return EXIT_RUNTIME
    for line in certificates.untimely():
        complain(Code.CERTIFICATE_REFUSED, line)
    for line in certificates.warnings:
        complain(Code.CERTIFICATE_DOUBTFUL, line)
    board = Board.create()
    settings = worker_settings(
        config,
        generation=1,
        listeners=prepared.for_workers(),
        scoreboard_fd=board.fd,
        journal=config.log.file == "-" and detect_journal(),
    )
    for listener in listeners:
        listener.socket.detach()  # the worker closes it when it stops; the path stays ours to remove
    os.environ.clear()
    os.environ.update(prepared.environment)

    def clean_up() -> None:
        for listener in listeners:
            listener.close()

    try:
        return run_single(settings, clean_up)
    finally:
        clean_up()
