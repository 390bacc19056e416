"""Twenty configurations in the shapes that they have in the wild: each becomes one that our own reader takes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from miniwsgi.daemon.cli import commands
from miniwsgi.daemon.config import load
from miniwsgi.daemon.config.keys import KEYS

from tests.support import migrated


def test_there_are_twenty_for_all_servers() -> None:
    assert len(migrated.NAMES) == 20
    assert {name.partition("-")[0] for name in migrated.NAMES} == {"gunicorn", "procfile", "uwsgi", "unit"}


@pytest.mark.parametrize("name", migrated.NAMES)
def test_a_configuration_becomes_one_of_ours(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = migrated.prepare(name, tmp_path_factory.mktemp("of") / name)  # the path of a socket may not be long
    for variable in migrated.FOREIGN:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in case.environ.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(case.directory)
    result = CliRunner().invoke(commands.commands, ["import", "-o", migrated.OUTPUT, *case.arguments])
    assert result.exit_code == 0, result.output
    text = case.output.read_text("utf-8")
    config = load(str(case.output), {}, {}, directory=str(case.directory))
    for key, value in case.keys.items():
        assert KEYS[key].kind.as_json(config[key]) == value, f"{key}\n{text}"
        assert config.origins[key] == "file" or value == 0, f"{key}\n{text}"
    flat = " ".join(text.replace("\n#", " ").split())
    for said in case.said:
        assert said in flat, text
    for warned in case.warned:
        assert warned in result.stderr
    assert "# --- What will behave differently" in text
    assert all(len(line) <= 100 for line in text.splitlines() if line.startswith("#") and "http" not in line), text
