"""What several unit tests are given."""

from __future__ import annotations

from .config_files import write_config
from .log_pipe import log_pipe

__all__ = ["log_pipe", "write_config"]
