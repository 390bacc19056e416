"""Functions that miniwsgi calls as workers come and go: app.hooks = "shop.hooks". All are optional, see hooks.md.

Those that are not needed are left out; so may be arguments, from the right.
"""

import logging

log = logging.getLogger(__name__)


def loaded(app):
    """The application was imported: before the fork when it is preloaded. The place to warm caches."""


def worker_start(worker):
    """In every worker, before it is ready. The place for connections and threads; what it raises fails the boot."""
    log.info("worker %d of generation %d has pid %d", worker.slot, worker.generation, worker.pid)


def worker_ready(worker):
    """The worker accepts."""


def worker_drain(worker):
    """The worker has been told to leave; requests still run."""


def worker_stop(worker, reason):
    """The last request is answered. The place to close and to flush what worker_start has opened."""


def leader_start(worker):
    """In exactly one worker of the service. The place to start a scheduler, in a thread of its own."""


def leader_stop(worker):
    """That worker drains. The next one begins when this has returned."""
