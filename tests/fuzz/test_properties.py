"""The properties of the parser on the inputs that once broke one, on the tables, and on mutations of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.effort import SEED, effort

from . import atheris
from .mutations import Random, mutated
from .properties import PROPERTIES, seeds


@pytest.mark.parametrize("name", PROPERTIES)
def test_it_holds_for_the_corpus(name: str) -> None:
    """What broke it once, and what the coverage-guided fuzzer has found to reach each part of the code."""
    inputs = atheris.corpus(name)
    assert inputs
    for data in inputs:
        PROPERTIES[name](data)


def test_a_finding_is_kept_and_replayed(tmp_path: Path) -> None:
    found = [b"\r\n\xff'\"\\", b"# no comment", b""]
    for data in found:
        atheris.keep("head", data, "AssertionError: \xe9\nin two lines", tmp_path)
    assert atheris.corpus("head", tmp_path) == found


@pytest.mark.parametrize("name", PROPERTIES)
def test_it_holds_for_the_tables_and_their_mutations(name: str) -> None:
    given = seeds(name)
    for data in given:
        PROPERTIES[name](data)
    for number in range(effort(400, 50_000)):
        data = mutated(Random(f"{name}-{number}-{SEED}"), [seed for seed in given if seed])
        try:
            PROPERTIES[name](data)
        except Exception as error:
            raise AssertionError(f"mutation {number}, {data!r}: {error!r}") from error


@pytest.mark.parametrize("name", PROPERTIES)
def test_it_holds_for_any_bytes(name: str) -> None:
    chance = random.Random(f"{name}-{SEED}")
    for _ in range(effort(200, 50_000)):
        PROPERTIES[name](chance.randbytes(chance.randrange(60)))


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(not atheris.installed(), reason="atheris is not installed")
def test_coverage_guided(tmp_path: Path) -> None:
    assert atheris.main(["--seconds", "300", "--findings", str(tmp_path)]) == 0
