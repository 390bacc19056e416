"""The kind of metrics.routes: a word, or patterns of paths."""

from __future__ import annotations

from ..routes.patterns import AUTO, EXPECTED, parse
from .kinds import Many, MismatchError, Text, is_off


def _rule(text: str) -> str:
    if text == AUTO:
        return text
    if is_off(text):
        raise MismatchError(f'"{AUTO}" or {EXPECTED}; "off" stands alone')
    try:
        parse(text)
    except ValueError:
        raise MismatchError(f'"{AUTO}" or {EXPECTED}') from None
    return text


class RouteRules(Many[str]):
    """How routes are found: AUTO, patterns of paths, or both; nothing is "off"."""

    def __init__(self) -> None:
        super().__init__(Text(f'"{AUTO}" or {EXPECTED}', check=_rule, name="pattern"))
        self.name = "auto, off or patterns"
        self.expected = f'"{AUTO}", "off", or a list, each item "{AUTO}" or {EXPECTED}'

    def from_text(self, text: str) -> object:
        return text if is_off(text) else super().from_text(text)

    def parse(self, value: object, base: str) -> tuple[str, ...]:
        return () if is_off(value) else super().parse(value, base)

    def show(self, value: tuple[str, ...]) -> str:
        return self.item.show(value[0]) if value == (AUTO,) else super().show(value) if value else '"off"'
