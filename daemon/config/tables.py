"""Tables that stand for one value: each name in them is an option, declared as a field with its `key(…)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from .declaration import Key
from .kinds import MismatchError, Wrong
from .spelling import close_matches


def options_of(kind: type[Any], first: str = "") -> Mapping[str, Key]:
    """What a dataclass of options declares, by name, in its order but for the one that is to be the first."""
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name != first)
    return MappingProxyType(
        {field.name: dataclasses.replace(field.metadata["key"], path=field.name) for field in fields}
    )


def parse_table(
    table: Mapping[str, object], options: Mapping[str, Key], required: Collection[str], base: str, expected: str
) -> dict[str, Any]:
    """The values that a table has, by name. Raises MismatchError with all that is wrong in it."""
    values: dict[str, Any] = {}
    wrong: list[Wrong] = []
    for name, value in table.items():
        if name not in options:
            near = close_matches(name, options, 0.7)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(options)}"
            wrong.append(Wrong(None, hint, f".{name}", unknown=True))
            continue
        try:
            values[name] = options[name].kind.parse(value, base)
        except MismatchError as error:
            items = error.items or (Wrong(value, error.expected),)
            wrong += [item._replace(where=f".{name}{item.where}") for item in items]
    wrong += [Wrong(None, options[name].kind.expected, f".{name}") for name in required if name not in table]
    if wrong:
        raise MismatchError(expected, tuple(wrong))
    return values
