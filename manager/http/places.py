"""How many requests of a kind may wait for their answers at once, so that others find a place beside them."""

from __future__ import annotations

from types import TracebackType

from .exchange import HttpRefusal


class Places:
    """`with places:` has one until its end. Raises HttpRefusal, of 503, before anything is done, if all are taken."""

    def __init__(self, most: int, refusal: str) -> None:
        self._most = most
        self._refusal = refusal
        self._taken = 0

    def __repr__(self) -> str:
        return f"<Places taken={self._taken} most={self._most}>"

    def __enter__(self) -> None:
        if self._taken >= self._most:
            raise HttpRefusal(503, self._refusal, fields=(("Retry-After", "1"),))
        self._taken += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken -= 1
