"""Which engine runs: by name, by itself, and what is said if it is not the best one."""

from __future__ import annotations

import pytest
from miniwsgi.daemon.engine import choice, plain
from miniwsgi.daemon.engine.choice import Begin, Chosen, Engine, EngineError


class Fast(plain.Conversation):
    engine = "fast"


class NoBuild(ImportError):
    remedy = "build it"


@pytest.fixture(autouse=True)
def only_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is built on this machine."""
    monkeypatch.setattr(choice, "ENGINES", choice.ENGINES[-1:])


def add(monkeypatch: pytest.MonkeyPatch, why_not: str, error: type[ImportError] = ImportError) -> None:
    """A faster engine than those that there are, and what keeps it from running."""

    def load() -> Begin:
        if why_not:
            raise error(why_not)
        return Fast

    monkeypatch.setattr(choice, "ENGINES", [Engine("fast", load), *choice.ENGINES])


def test_there_is_always_one_and_it_needs_no_reason() -> None:
    assert choice.names() == choice.available() == ["plain"]
    assert choice.choose("auto") == choice.choose("plain") == Chosen(plain.Conversation)
    assert str(choice.choose("auto")) == choice.choose("auto").name == "plain"


def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "")
    assert choice.choose("auto") == Chosen(Fast)
    assert choice.choose("plain") == Chosen(plain.Conversation)
    assert choice.available() == ["fast", "plain"]


def test_auto_does_with_the_next_one_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "no build for CPython 3.99")
    assert choice.choose("auto") == Chosen(plain.Conversation, "no build for CPython 3.99")
    assert str(choice.choose("auto")) == "plain: no build for CPython 3.99"


def test_one_that_is_named_and_does_not_run_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "no build for CPython 3.99", NoBuild)
    assert (choice.names(), choice.available()) == (["fast", "plain"], ["plain"])
    with pytest.raises(EngineError) as caught:
        choice.choose("fast")
    assert str(caught.value) == (
        'server.engine = "fast" does not run here: no build for CPython 3.99; "auto" or "plain" does, or build it'
    )


def test_one_that_nobody_knows_is_an_error_that_names_those_that_there_are() -> None:
    with pytest.raises(EngineError, match=r'server\.engine = "slow" is not known here, but plain'):
        choice.choose("slow")
