"""Blocks of a body as the application gives them (PEP 3333: bytes; what is bytes-like is as good)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def join(blocks: Iterable[Any]) -> bytes:
    """Blocks of a body as one. What is bytes-like is as good as bytes, alone or in company; TypeError for all else."""
    if not isinstance(blocks, (list, tuple)):
        blocks = list(blocks)
    try:
        return b"".join(blocks)
    except TypeError:
        for block in blocks:
            try:
                memoryview(block)
            except TypeError:
                raise TypeError(
                    f"the application gave a {type(block).__name__} as part of the body, not bytes"
                ) from None
        raise
