"""How an import is to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SECONDS = 30.0  # for a configuration file that is a program


@dataclass(frozen=True, slots=True)
class Asked:
    """`directory` is where the other server was started, `environ` is for variables. `python` executes its
    configuration
    and the application; "" if nobody has said which: then it is ours that executes."""

    directory: str
    python: str
    environ: Mapping[str, str]
    seconds: float = SECONDS
