"""`miniwsgi install-service`: the units of packaging/systemd with this installation's paths, and nothing replaced."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from miniwsgi.daemon import install_service
from miniwsgi.daemon.cli.commands import commands
from miniwsgi.daemon.install_service import MARK, Service, ServiceError, commands_after, install, this_service

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
ONE = ["miniwsgi.service", "miniwsgi.socket"]
TEMPLATES = ["miniwsgi-control@.socket", "miniwsgi-user@.service", "miniwsgi@.service", "miniwsgi@.socket"]


def units_in(files: dict[str, str]) -> list[str]:
    return [os.path.basename(path) for path in files if os.path.dirname(path) == "/etc/systemd/system"]


def start_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("ExecStart=", "ExecReload="))]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written and nothing is run."""
    monkeypatch.setattr(install_service, "commands_after", lambda files, root: [])


def test_the_units_are_those_of_the_package_with_this_installations_commands_in_them() -> None:
    files = Service("/opt/web/bin").files()
    assert units_in(files) == ONE
    for name in ONE:
        manuals = ("Documentation=man:miniwsgi(1)\n", "Documentation=man:miniwsgi(1) man:miniwsgictl(1)\n")
        shipped = (UNITS / name).read_text().replace("/usr/bin/miniwsgi", "/opt/web/bin/miniwsgi")
        for manual in manuals:  # which are nowhere where man(1) looks
            shipped = shipped.replace(manual, "")
        assert "man:miniwsgi" not in shipped
        assert files[f"/etc/systemd/system/{name}"] == MARK + shipped
    start, reload = start_of(files["/etc/systemd/system/miniwsgi.service"])
    assert start == "ExecStart=/opt/web/bin/miniwsgi serve -c /etc/miniwsgi/miniwsgi.toml"
    assert reload.startswith("ExecReload=/opt/web/bin/miniwsgictl ")
    assert files["/etc/sysusers.d/miniwsgi.conf"] == MARK + (UNITS / "sysusers.d" / "miniwsgi.conf").read_text()
    assert files["/etc/tmpfiles.d/miniwsgi.conf"] == MARK + (UNITS / "tmpfiles.d" / "miniwsgi.conf").read_text()


def test_an_instance_gets_the_templates() -> None:
    service = Service("/opt/web/bin", "shop")
    assert service.unit == "miniwsgi@shop.service"
    assert service.default_config == "/etc/miniwsgi/shop.toml"
    files = service.files()
    assert units_in(files) == TEMPLATES
    start, _ = start_of(files["/etc/systemd/system/miniwsgi@.service"])
    assert start == "ExecStart=/opt/web/bin/miniwsgi serve -c /etc/miniwsgi/%i.toml"


@pytest.mark.parametrize("instance", ["", "shop"])
def test_another_configuration_is_a_drop_in_of_the_one_service(instance: str) -> None:
    service = Service("/opt/web/bin", instance, "/srv/shop/miniwsgi.toml")
    text = service.files()[f"/etc/systemd/system/{service.unit}.d/config.conf"]
    assert text == f"{MARK}[Service]\nExecStart=\nExecStart=/opt/web/bin/miniwsgi serve -c /srv/shop/miniwsgi.toml\n"
    usual = Service("/opt/web/bin", instance, service.default_config).files()
    assert not [path for path in usual if path.endswith("config.conf")]


def test_of_the_home_directories_the_service_sees_what_its_interpreter_needs() -> None:
    needs = ("/home/ann/venv", "/home/ann/venv/bin", "/root/.pyenv/versions/3.12.1", "/usr")
    files = Service("/home/ann/venv/bin", "", "/home/ann/shop.toml", needs).files()
    text = files["/etc/systemd/system/miniwsgi.service.d/home.conf"]
    assert "\nProtectHome=tmpfs\n" in text
    assert text.endswith("\nBindReadOnlyPaths=/home/ann/shop.toml /home/ann/venv /root/.pyenv/versions/3.12.1\n")
    elsewhere = Service("/opt/web/bin", "", "", ("/homestead/venv", "/usr")).files()
    assert not [path for path in elsewhere if path.endswith("home.conf")]


@pytest.mark.parametrize("instance", ["miniwsgi", "Shop", "a b", "../x", "%i", "-x", "x" * 23, "é"])
def test_an_instance_that_would_be_no_users_name_is_refused(instance: str) -> None:
    with pytest.raises(ServiceError, match="instance"):
        Service("/opt/web/bin", instance)


@pytest.mark.parametrize("path", ["/srv/my shop/x", "/srv/100%/x", "/srv/$x", '/srv/"x', "relative/x", "/srv/x\ny"])
def test_a_path_that_systemd_would_read_as_something_else_is_refused(path: str) -> None:
    with pytest.raises(ServiceError, match="a path in a unit"):
        Service("/opt/web/bin", "", path)
    with pytest.raises(ServiceError, match="a path in a unit"):
        Service(path)


@pytest.mark.parametrize("path", ["/tmp/venv/bin", "/var/tmp/venv/bin"])
def test_an_interpreter_that_the_service_cannot_see_is_refused(path: str) -> None:
    with pytest.raises(ServiceError, match="of its own"):
        Service(path)


@pytest.mark.usefixtures("quiet")
def test_files_are_written_once_and_again_only_if_they_differ(tmp_path: Path) -> None:
    service = Service("/opt/web/bin")
    files = service.files()
    assert sorted(install(service, str(tmp_path))) == sorted(f"wrote      {tmp_path}{path}" for path in files)
    for path, text in files.items():
        written = tmp_path / path[1:]
        assert written.read_text() == text
        assert written.stat().st_mode & 0o777 == 0o644
    assert [line.split()[0] for line in install(service, str(tmp_path))] == ["unchanged"] * len(files)
    moved = list(install(Service("/opt/new/bin"), str(tmp_path)))
    assert [line for line in moved if line.startswith("wrote")] == [
        f"wrote      {tmp_path}/etc/systemd/system/miniwsgi.service"
    ]


@pytest.mark.usefixtures("quiet")
def test_a_file_of_somebody_elses_is_kept_and_nothing_is_written(tmp_path: Path) -> None:
    mine = tmp_path / "etc/systemd/system/miniwsgi.socket"
    mine.parent.mkdir(parents=True)
    mine.write_text("[Socket]\n")
    with pytest.raises(ServiceError, match="was not written by this command"):
        list(install(Service("/opt/web/bin"), str(tmp_path)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "[Socket]\n"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("directory", ["usr/lib/systemd/system", "lib/systemd/system"])
def test_units_of_a_package_are_not_shadowed(tmp_path: Path, directory: str) -> None:
    packaged = tmp_path / directory / "miniwsgi@.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("[Service]\n")
    with pytest.raises(ServiceError, match="from a package"):
        list(install(Service("/opt/web/bin", "shop"), str(tmp_path)))


def test_an_image_gets_its_user_and_directories_and_no_running_systemd_is_told(tmp_path: Path) -> None:
    files = Service("/opt/web/bin").files()
    assert commands_after(files, str(tmp_path)) == [
        ["systemd-sysusers", f"--root={tmp_path}", "miniwsgi.conf"],
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "miniwsgi.conf"],
    ]


def test_who_is_not_root_is_told_so_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match="only root may install a service: sudo, or --dry-run"):
        list(install(Service("/opt/web/bin")))


# --- the command ------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["install-service", *arguments], prog_name="miniwsgi")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the two commands are, and from which this one is run."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("miniwsgi", "miniwsgictl"):
        (directory / name).touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(directory / "miniwsgi")])
    monkeypatch.setattr(install_service, "TEMPORARY", ())  # where tests live
    return directory


def test_a_dry_run_prints_everything_and_writes_nothing(installed: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    result = run("--dry-run", "--instance", "shop", "--root", str(root))
    assert result.exit_code == 0, result.output
    assert "# --- /etc/systemd/system/miniwsgi@.service\n" in result.output
    assert f"ExecStart={installed}/miniwsgi serve -c /etc/miniwsgi/%i.toml\n" in result.output
    assert "systemd-sysusers" in result.output
    assert list(root.iterdir()) == []


@pytest.mark.usefixtures("quiet", "installed")
def test_the_command_says_what_it_did_and_what_comes_next(tmp_path: Path) -> None:
    root = tmp_path / "root"
    result = run("-i", "shop", "-c", "/srv/shop/miniwsgi.toml", "--root", str(root))
    assert result.exit_code == 0, result.output
    assert f"wrote      {root}/etc/systemd/system/miniwsgi@shop.service.d/config.conf\n" in result.output
    assert result.output.endswith(
        "Next: the configuration, /srv/shop/miniwsgi.toml; then: systemctl enable --now miniwsgi@shop.service\n"
    )


@pytest.mark.usefixtures("installed")
def test_what_is_wrong_is_said_in_a_line_with_status_1() -> None:
    result = run("--instance", "A B")
    assert result.exit_code == 1
    assert result.stderr.startswith("miniwsgi: MW7305 instance 'A B': ")
    assert "Traceback" not in result.output


def test_without_commands_beside_the_interpreter_there_is_nothing_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ServiceError, match="install miniwsgi with pip"):
        this_service()
