"""Which content coding a client wants (RFC 9110 section 12.5.3, Accept-Encoding)."""

from __future__ import annotations

import re
from collections.abc import Sequence

IDENTITY = "identity"
# codings = content-coding / "identity" / "*", weight = OWS ";" OWS "q=" qvalue (RFC 9110 sections 12.4.2, 12.5.3)
_MEMBER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?", re.ASCII)
_ALIASES = {"x-gzip": "gzip"}
_ANY = "*"


def preferred(accepted: str | None, offered: Sequence[str]) -> str:
    """The coding of those on offer that the client likes best, of equals the first; "identity" if it wants none.

    `accepted` is the field's value, None without one. A member that is malformed says nothing.
    """
    if not accepted or not offered:
        return IDENTITY
    weights: dict[str, float] = {}
    for member in accepted.split(","):
        if found := _MEMBER.fullmatch(member.strip(" \t")):
            name = found[1].lower()
            weights[_ALIASES.get(name, name)] = 1.0 if found[2] is None else float(found[2])
    any_weight = weights.get(_ANY, 0.0)
    best, best_weight = IDENTITY, 0.0
    for name in offered:
        weight = weights.get(name, any_weight)
        if weight > best_weight:
            best, best_weight = name, weight
    # Identity is acceptable unless it is said not to be, and has no preference of its own.
    return IDENTITY if weights.get(IDENTITY, 0.0) > best_weight else best
