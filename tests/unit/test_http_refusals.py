"""Every refusal of a request names its section of a specification, for the log; nothing of it is for the client."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from miniwsgi.daemon.http import errors
from miniwsgi.daemon.http.errors import ProtocolError

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
SECTION = re.compile(r"RFC \d{4} section \d+(\.\d+)*")


def refusals() -> list[tuple[str, ast.Call]]:
    """Where the daemon makes a ProtocolError."""
    return [
        (f"{path.relative_to(DAEMON)}:{node.lineno}", node)
        for path in sorted(DAEMON.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProtocolError"
    ]


@pytest.mark.parametrize(("where", "call"), refusals(), ids=[where for where, _ in refusals()])
def test_a_refusal_is_made_with_its_section(where: str, call: ast.Call) -> None:
    literals = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if len(literals) == len(call.args):
        assert SECTION.fullmatch(str(literals[2])), where
    assert len(call.args) >= 2


def test_a_refusal_shows_its_section() -> None:
    error = ProtocolError(400, "HTTP/1.1 without Host", "RFC 9112 section 3.2")
    assert str(error) == "400 Bad Request: HTTP/1.1 without Host (RFC 9112 section 3.2)"
    assert errors.body_too_slow().section == "RFC 9110 section 15.5.9"
