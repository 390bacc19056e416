"""What several unit tests are given."""

from __future__ import annotations

from .log_pipe import log_pipe

__all__ = ["log_pipe"]
