"""Request ids: one for each request, the client's own where a trusted proxy passes it on, else a new one.

New ones are a random start for each process and a number: unique, cheap, and in order within a worker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from ..unpatched import os

VARIABLE = "miniwsgi.request_id"
GIVEN = "HTTP_X_REQUEST_ID"
RANDOM_BYTES = 8

_USABLE = re.compile(r"[A-Za-z0-9._~+/=@:-]{1,128}")  # nothing that could forge a field or a line of a log


class RequestIds:
    """`prefix` and `numbers` are for the hot path: f"{prefix}{next(numbers)}" is a new id, in any thread.

    `seed` is the prefix as a number, in hexadecimal digits.
    """

    __slots__ = ("numbers", "prefix", "seed")

    def __init__(self) -> None:
        self.start_afresh()

    def __repr__(self) -> str:
        return f"<RequestIds {self.prefix}…>"

    def start_afresh(self) -> None:
        """For a process that was forked, and would go on with the ids of its parent."""
        self.seed = int.from_bytes(os.urandom(RANDOM_BYTES), "big")
        self.prefix = f"{self.seed:016x}-"
        self.numbers = count(1)

    @staticmethod
    def given(environ: Mapping[str, Any]) -> str:
        """The id that a request from a trusted proxy brings; "" if none or none that can be used."""
        given = environ.get(GIVEN)
        return str(given) if given is not None and _USABLE.fullmatch(given) else ""

    def new(self) -> str:
        return f"{self.prefix}{next(self.numbers)}"
