"""A project's directory is served as its miniwsgi.toml or pyproject.toml says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from miniwsgi.daemon.cli import reading
from miniwsgi.daemon.config import ConfigError
from miniwsgi.daemon.config.binds import Bind

from .cli_world import Master, master, run

__all__ = ["master"]

PYPROJECT = """
[project]
name = "shop"

[tool.miniwsgi.app]
module = "./src/shop.py"

[tool.miniwsgi.server]
backlog = 7
bind = "unix:http.sock"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's directory, beside the one in which the command is typed."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return directory


@pytest.mark.parametrize(
    "arguments",
    [("../project/",), ("{0}",), ("-c", "../project/pyproject.toml"), ("--workers", "3", "../project")],
)
def test_a_projects_directory_is_served_as_its_pyproject_says(
    master: Master, project: Path, arguments: tuple[str, ...]
) -> None:
    result = run("serve", *(argument.format(project) for argument in arguments))
    assert result.exit_code == 0, result.output
    config = master.config
    assert config is not None
    assert os.path.normpath(config.path) == str(project / "pyproject.toml")
    assert (config.app.module, config.app.directory) == (f"{project}/src/shop.py", str(project))
    assert (config.server.backlog, config.server.bind) == (7, (Bind(address=f"unix:{project}/http.sock"),))
    assert config.origins["server.backlog"] == "file"
    (project / "pyproject.toml").write_text(PYPROJECT.replace("7", "8"))
    assert master.reload is not None
    assert master.reload().server.backlog == 8, "a reload reads it again"
    (project / "pyproject.toml").write_text("[project]")
    with pytest.raises(ConfigError, match=r"pyproject.toml: there is no \[tool.miniwsgi\] in it; its tables are those"):
        master.reload()


@pytest.mark.parametrize("command", ["serve", "check", "config"])
def test_in_a_project_the_command_needs_no_argument(
    master: Master, project: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    Path(reading.DEFAULT_PATH).write_text("[app]\nmodule = 'default'\n")
    monkeypatch.chdir(project)
    said = run(command).output
    used = [master.config] if command == "serve" else master.checked
    if command == "config":
        assert said.startswith(f"# {project}/pyproject.toml\n")
    else:
        assert [config.path for config in used if config] == [f"{project}/pyproject.toml"]


def test_of_a_projects_files_that_of_miniwsgi_wins_and_what_is_typed_wins_over_both(
    master: Master, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "miniwsgi.toml").write_text("[app]\nmodule = 'own'\n[server]\nbacklog = 9\n")
    for arguments, module, path in (
        ((), "own", "miniwsgi.toml"),
        (("shop:app",), "shop:app", "miniwsgi.toml"),
        (("-c", "pyproject.toml"), f"{project}/src/shop.py", "pyproject.toml"),
        ((".",), "own", "miniwsgi.toml"),
    ):
        assert run("serve", *arguments).exit_code == 0
        assert master.config is not None
        assert (master.config.app.module, master.config.path) == (module, str(project / path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.miniwsgi.sever]", "unknown section [sever]: did you mean [server]? ({file})"),
        ("[tool.miniwsgi]\nserver = 3", "server = 3: expected a section: [server] ({file})"),
        ("[tool]\nminiwsgi = 3 # tool.miniwsgi", "{file}: tool.miniwsgi is 3 in it, and tables are expected"),
        ("[tool.miniwsgi\n", "{file}:1:15: not valid TOML"),
        ("[tool.miniwsgi.app]", "app.module: expected the application, as "),
    ],
)
def test_a_broken_pyproject_is_told(
    master: Master, project: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(project)
    (project / "pyproject.toml").write_text(text)
    result = run("serve")
    assert result.exit_code == 2
    assert said.format(file=project / "pyproject.toml") in result.output


@pytest.mark.parametrize("text", ["[project]\nname = 'x'", "[project\n", None], ids=["others", "broken", "none"])
def test_a_pyproject_of_others_is_none(
    master: Master, project: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    (project / "pyproject.toml").unlink()
    if text is not None:
        (project / "pyproject.toml").write_text(text)
    said = run("serve", f"{project}/").output
    assert f"{project} has neither a miniwsgi.toml nor a pyproject.toml with [tool.miniwsgi]" in said
    assert f"miniwsgi serve --chdir {project}/ shop.wsgi:application" in said
    monkeypatch.chdir(project)
    assert "nothing to serve" in run("serve").output
    assert run("serve", "shop").exit_code == 0


def test_a_directory_is_served_alone(master: Master, project: Path) -> None:
    for more in (("-c", "x.toml"), ("--factory",)):
        result = run("serve", f"{project}/", *more)
        assert result.exit_code == 2
        assert f"{project}/ is a directory, whose configuration is served: leave out {more[0]}" in result.output


def test_a_package_is_no_project(master: Master, project: Path) -> None:
    (project / "pyproject.toml").unlink()
    (project / "__init__.py").touch()
    assert run("serve", f"{project}/").exit_code == 0
    assert master.config is not None
    assert master.config.app.module == f"{project}/"


def test_a_directory_by_its_bare_name_is_a_project_unless_it_is_a_module(
    master: Master, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent)
    assert run("serve", project.name).exit_code == 0
    assert master.config is not None
    assert master.config.path == str(project / "pyproject.toml")
    (project.parent / f"{project.name}.py").write_text("")
    assert run("serve", project.name).exit_code == 0
    assert master.config.app.module == project.name
