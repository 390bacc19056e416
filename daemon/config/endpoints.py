"""An address where something is served, with options: a text, the address, or a table of it with them.

An option is declared once, as a field with its `key(…)`, like the keys of sections; the table's parser, what is shown
and the reference follow from that.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from .addresses import Address
from .declaration import key
from .kinds import Kind, MismatchError, Wrong, quoted
from .tables import options_of, parse_table
from .tls_options import Secured, contradictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Secured):
    """Its address is its identity."""

    address: str = key(
        Address(),
        "",
        'Where to listen, as in the text: "127.0.0.1:8000", "unix:/path", …',
        computed="none: it is required",
    )

    @property
    def scheme(self) -> str:
        """What stands before the address in a URL."""
        return "https" if self.secure else "http"

    @property
    def options(self) -> dict[str, Any]:
        """What is not as by default, beside the address."""
        declared = options_of(type(self), "address")
        values = {name: getattr(self, name) for name in declared if name != "address"}
        return {name: value for name, value in values.items() if value != declared[name].default}


E = TypeVar("E", bound=Endpoint)


class EndpointEntry(Kind[E]):
    """A text or a table, as one of `kind`. With `off`, what `is_off` says means one without an address."""

    name = Address.name
    plural = Address.plural
    table = True

    def __init__(self, kind: type[E], off: bool = False) -> None:
        self.address = Address(off=off)
        self.expected = f'{self.address.expected}, or a table as {{ address = "…" }}'
        self._kind = kind
        self._off = off
        self._options = options_of(kind, "address")

    def accepts(self) -> str:
        return self.address.accepts()

    def identity(self, value: E) -> object:
        return value.address

    def parse(self, value: object, base: str) -> E:
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = self._table_of(value)
        endpoint = self._of_table(value, base) if isinstance(value, dict) else self.of_text(value, base)
        wrong = [
            Wrong(getattr(endpoint, name), expected, f".{name}") if isinstance(value, dict) else Wrong(value, expected)
            for name, expected in self.contradictions(endpoint)
        ]
        if wrong:
            raise MismatchError(self.expected, tuple(wrong))
        return endpoint

    def _table_of(self, text: str) -> dict[str, object]:
        """Where there are only texts, in a flag or a variable, a table is written as in TOML. Raises MismatchError."""
        try:
            (table,) = tomllib.loads(f"table = {text}").values()
        except (tomllib.TOMLDecodeError, ValueError) as error:
            raise MismatchError(f"{self.expected}; as TOML it is not right: {error}") from None
        if not isinstance(table, dict):
            raise MismatchError(self.expected)
        return table

    def contradictions(self, value: E) -> Iterator[tuple[str, str]]:
        """Options that do not go with each other, each with what was expected of it."""
        return contradictions(value)

    def of_text(self, value: object, base: str) -> E:
        """Raises MismatchError."""
        return self._kind(address=self.address.parse(value, base))

    def _of_table(self, table: dict[str, object], base: str) -> E:
        return self._kind(**parse_table(table, self._options, ("address",), base, self.expected))

    def show(self, value: E) -> str:
        text_or_table = self.as_json(value)
        if isinstance(text_or_table, str):
            return '"off"' if self._off and not text_or_table else quoted(text_or_table)
        pairs = (f"{name} = {self._options[name].kind.show(getattr(value, name))}" for name in text_or_table)
        return f"{{ {', '.join(pairs)} }}"

    def as_json(self, value: E) -> str | dict[str, Any]:
        """The text where there is one for it, otherwise a table without what is as by default."""
        if not value.options:
            return value.address
        shown = {name: self._options[name].kind.as_json(option) for name, option in value.options.items()}
        return {"address": value.address, **shown}
