"""The `miniwsgi` command, and the place where all parts are put together.

    miniwsgi serve | check | config | import | engine | install-service | explain | version

Exit status: 0 a clean stop, 1 a failure while running, 2 usage or configuration, 3 the application did not boot.
A master lives for months: what has read its command line is let go before its own modules come, which get that memory.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Collection
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from ..absent import absent

if TYPE_CHECKING:
    from ..config import Config, ReadConfig

COMMAND_LINE = ("click", "difflib", "gettext")  # what nobody else imports; in Python, so that it could come again
# OpenSSL is a megabyte of a process's own. asyncio takes ssl where there is one, hashlib and hmac have digests of
# their own unless Python was built without (--with-builtin-hashlib-hashes): without TLS the master only hashes names.
OPENSSL = ("ssl", "_hashlib") if any(map(find_spec, ("_sha2", "_sha256"))) else ("ssl",)

BACKPORTS = ("typing_extensions",)  # msgspec prefers it to `typing`, which has the same by now


def main() -> NoReturn:
    """The entry point. No garbage is collected while modules are imported: they last, and it is a tenth of a start."""
    gc.disable()
    others = set(sys.modules)
    config, reload_config = _command_line()
    _let_go_of_the_command_line(others)
    _end(supervise(config, reload_config))


def supervise(config: Config, reload_config: ReadConfig) -> int:
    """Become the master. Returns the exit status."""
    openssl = () if config.metrics.bind.secure else OPENSSL  # asyncio speaks TLS there
    with absent(*openssl, *BACKPORTS):
        from ..master.main import run

    gc.freeze()  # no collection looks at modules again: they last
    gc.enable()
    return run(config, reload_config)


def _end(status: int) -> NoReturn:
    """The master has cleaned up: to take all modules to pieces, too, would be a sixth of what its life may cost."""
    atexit._run_exitfuncs()  # of those who came by a sitecustomize
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError):
            pass  # there is none, or who has read it is gone
    os._exit(status)


def _command_line() -> tuple[Config, ReadConfig]:
    from .commands import command_line

    return command_line()


def _let_go_of_the_command_line(others: Collection[str]) -> None:
    """`others` had been imported before: somebody else has them.

    Modules are emptied, as at an interpreter's end: caches of `typing` still refer to classes in them.
    """
    for name in sys.modules.keys() - others:
        package, _, module = name.rpartition(".")
        if package == __name__:
            del globals()[module]
        if package == __name__ or name.partition(".")[0] in COMMAND_LINE:
            vars(sys.modules.pop(name)).clear()
    gc.collect()
