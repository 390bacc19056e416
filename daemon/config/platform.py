"""The variables by which hosting platforms tell any server where to listen, how many workers to run, whom to trust.

Heroku and its successors, Cloud Run and build packs set PORT and WEB_CONCURRENCY; FORWARDED_ALLOW_IPS is gunicorn's,
and uvicorn's. They are not written for miniwsgi, and so are weaker than all that is: each is looked at only if neither
file, MINIWSGI_* variable nor flag sets its key. An empty one is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .keys import KEYS
from .kinds import MismatchError

UNUSED_ARGUMENTS = "GUNICORN_CMD_ARGS"


class PlatformVariable(NamedTuple):
    """`value` makes of its text what a file would hold. Raises MismatchError."""

    name: str
    path: str  # of the key that it sets
    value: Callable[[str], object]
    doc: str


def _every_address(text: str) -> object:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65535:
        raise MismatchError("a port from 1 to 65535")
    return [f":{int(text)}"]


PLATFORM_VARIABLES = (
    PlatformVariable(
        "PORT", "server.bind", _every_address, "`:PORT`: every address, by IPv6 as by IPv4 where there is both"
    ),
    PlatformVariable(
        "WEB_CONCURRENCY", "server.workers", KEYS["server.workers"].kind.from_text, "the number of workers"
    ),
    PlatformVariable(
        "FORWARDED_ALLOW_IPS", "proxy.trusted", KEYS["proxy.trusted"].kind.from_text, "addresses, separated by commas"
    ),
)
VARIABLE_OF = {variable.path: variable.name for variable in PLATFORM_VARIABLES}


def about_arguments(environ: Mapping[str, str]) -> str:
    """What the operator should know of gunicorn's arguments in the environment; "" if there are none."""
    if not environ.get(UNUSED_ARGUMENTS):
        return ""
    return (
        f"the environment variable {UNUSED_ARGUMENTS} is gunicorn's and is not obeyed: "
        f"`miniwsgi import -- gunicorn ${UNUSED_ARGUMENTS}` says what it is here"
    )
