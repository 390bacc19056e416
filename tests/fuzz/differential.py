"""Our parser and others on the same bytes: `python -m tests.fuzz.differential --inputs 20000` counts the differences.

The bytes are the conformance tables' and mutations of them. What differs must be a row of the table in `differences`,
which says by which paragraph; exit status 1 if something is not. The peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.conformance.case import Stage

from .differences import Difference, Kind, Listed, listed
from .minimise import minimised
from .mutations import RIGHT, SEEDS, mutated
from .peers import PEERS, Read, ours

LIBRARIES = {"llhttp": "httptools", "h11": "h11", "http.server": "http.server"}


def installed() -> list[str]:
    """The peers that can be asked."""
    return [name for name, library in LIBRARIES.items() if importlib.util.find_spec(library) is not None]


def streams(seed: int, inputs: int) -> Iterator[bytes]:
    """The tables' streams, then so many mutations."""
    yield from SEEDS
    for number in range(inputs):
        yield mutated(random.Random(f"{seed}-{number}"), SEEDS, RIGHT)


def difference(peer: str, data: bytes) -> Difference | None:
    """The first one, None where they agree, or where one only sees a fault sooner."""
    return compare(peer, ours(data), PEERS[peer](data))


def compare(peer: str, our: Read, its: Read) -> Difference | None:
    """As `difference`, of what both have read."""
    for at, mine in enumerate(our.messages):
        if at == len(its.messages):
            if its.end is Stage.REFUSED:
                return Difference(peer, Kind.IT_REFUSES, its.reason, mine)
            if its.end is Stage.LAST:
                return None  # it does not read on: the one before has shown whether it should
            return Difference(peer, Kind.FRAMED, f"we have a request, it is {its.end.value}", mine)
        other = its.messages[at]
        for name in ("method", "target", "http11", "fields", "body", "persistent"):
            own, its_own = getattr(mine, name), getattr(other, name)
            if own != its_own and its_own is not None:
                return Difference(peer, Kind.OTHERWISE, name, mine, other)
    if len(its.messages) > len(our.messages):
        if our.end is Stage.REFUSED:
            return Difference(peer, Kind.WE_REFUSE, our.reason, other=its.messages[len(our.messages)])
        if our.end is Stage.LAST or (our.begun is not None and its.messages[-1].body is None):
            return None
        return Difference(peer, Kind.FRAMED, f"it has a request, we are {our.end.value}", our.begun)
    if our.end is Stage.BODY and its.end is Stage.REFUSED:
        return Difference(peer, Kind.IT_REFUSES, its.reason, our.begun)
    if our.end is Stage.REFUSED and its.end is Stage.BODY:
        return Difference(peer, Kind.WE_REFUSE, our.reason)
    return None


def survey(data: Iterable[bytes]) -> tuple[int, Counter[Listed], dict[tuple[str, Kind, str], tuple[bytes, Difference]]]:
    """How many streams there were, how often each listed difference was seen, and the smallest of each unlisted."""
    count = 0
    seen: Counter[Listed] = Counter()
    unlisted: dict[tuple[str, Kind, str], tuple[bytes, Difference]] = {}
    peers = installed()
    for stream in data:
        count += 1
        our = ours(stream)
        for peer in peers:
            found = compare(peer, our, PEERS[peer](stream))
            if found is None:
                continue
            row = listed(found)
            if row is not None:
                seen[row] += 1
                continue
            key = peer, found.kind, found.subject
            if key not in unlisted or len(stream) < len(unlisted[key][0]):
                unlisted[key] = stream, found
    return count, seen, unlisted


def smaller(stream: bytes, found: Difference) -> bytes:
    """The stream with fewer bytes that shows the same unlisted difference."""

    def shows(candidate: bytes) -> bool:
        other = difference(found.peer, candidate)
        same = other is not None and (other.kind, other.subject) == (found.kind, found.subject)
        return same and other is not None and listed(other) is None

    return minimised(stream, shows, 500)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.differential", description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="mutations")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    count, seen, unlisted = survey(streams(options.seed, options.inputs))
    print(f"{count} streams, {', '.join(installed())}; {sum(seen.values())} differences that are listed:")
    for row, times in sorted(seen.items(), key=lambda item: (item[0].kind.value, -item[1])):
        print(f"{times:7} {row.kind.value}: {row.rule} ({row.source}; {', '.join(row.peers)})")
    for stream, found in unlisted.values():
        print(f"UNLISTED {found}\n    {smaller(stream, found)!r}")
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main())
