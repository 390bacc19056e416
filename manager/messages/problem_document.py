"""An error."""

from __future__ import annotations

from .base import ResponseBody
from .config_values import ConfigProblem


class Problem(ResponseBody):
    """An error, as RFC 9457 has it (application/problem+json)."""

    status: int
    title: str  # the status in words
    detail: str = ""  # what is wrong with this very request, and the remedy
    type: str = "about:blank"
    instance: str = ""  # the path that was asked for
    operation: int | None = None  # 409: the operation that is in the way
    code: str = ""  # of its kind, such as "MW6003": see docs/errors.md
    problems: list[ConfigProblem] = []  # 422 of a configuration: each mistake
