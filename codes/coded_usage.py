"""Mistakes in how a command was typed: click tells them beside the usage, with the code that they have from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from .code import Code

# What a group says that was given nothing at all: its help. click has it from 8.2.
_HELP: tuple[type[click.UsageError], ...] = tuple(filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)]))


class CodedUsage(click.Group):
    """A whole program: its own mistakes of usage and those of all its commands have MISTYPED before them."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _coded():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _coded():
            return super().invoke(ctx)


@contextmanager
def _coded() -> Iterator[None]:
    try:
        yield
    except _HELP:
        raise
    except click.UsageError as error:
        raise click.UsageError(f"{Code.MISTYPED} {error.format_message()}", error.ctx) from None
