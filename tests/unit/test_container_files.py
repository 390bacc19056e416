"""The image and the compose example: they name files that there are, and agree with the configuration in the image."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.master.supervising.stopping import EXIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "packaging" / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def instructions(name: str) -> list[tuple[str, list[str]]]:
    """A Dockerfile's instructions with their words."""
    text = (DOCKER / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], shlex.split(line)[1:]) for line in joined.splitlines()]


def copied() -> set[str]:
    """What the image takes from the repository."""
    found = [words for name, words in instructions("Dockerfile") if name == "COPY" and not words[0].startswith("--")]
    return {source for words in found for source in words[:-1]}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The image's configuration as the daemon reads it."""
    text = (DOCKER / "miniwsgi.toml").read_text("utf-8")
    assert 'directory = "/srv/app"' in text
    path = tmp_path / "miniwsgi.toml"
    path.write_text(text.replace('"/srv/app"', f'"{tmp_path}"'), "utf-8")
    (port,) = re.findall(r"^ENV .*\bPORT=(\d+)", (DOCKER / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    return load(str(path), {}, {"PORT": port}, directory=str(tmp_path))


@pytest.fixture
def compose() -> dict[str, Any]:
    found = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def test_what_the_image_copies_is_there_and_let_through() -> None:
    assert {source for source in copied() if not (ROOT / source).exists()} == set()
    let_through = re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE)
    assert set(let_through) == copied()


def test_the_image_copies_all_that_the_package_consists_of() -> None:
    needed = set(PROJECT["tool"]["setuptools"]["package-dir"].values())
    needed |= {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml", "setup.py"}
    assert needed <= copied()


def test_the_daemon_is_the_first_process_and_not_root() -> None:
    said = dict(instructions("Dockerfile"))
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["miniwsgi"]\nCMD ["serve"]\n' in text, "as lists: no shell between"
    assert said["USER"] == ["10001:10001"]
    assert said["STOPSIGNAL"] == ["SIGTERM"]
    assert instructions("shop.Dockerfile")[-2] == ("USER", ["10001:10001"])
    deployment = yaml.safe_load((ROOT / "packaging" / "kubernetes" / "deployment.yaml").read_text("utf-8"))
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001


def test_ports_are_those_of_the_configuration(config: Config, compose: dict[str, Any]) -> None:
    said = dict(instructions("Dockerfile"))
    assert [f":{port}" for port in said["EXPOSE"]] == [
        *(bind.address for bind in config.server.bind),
        config.metrics.bind.address,
    ]
    assert f"127.0.0.1{config.metrics.bind.address}/readyz" in (DOCKER / "Dockerfile").read_text("utf-8")
    (target,) = yaml.safe_load(compose["configs"]["targets"]["content"])
    assert target["targets"] == [f"shop{config.metrics.bind.address}"]
    assert compose["services"]["shop"]["ports"] == [f"8000{config.server.bind[0].address}"], "and not the metrics port"


def test_a_stop_fits_into_what_docker_waits(config: Config, compose: dict[str, Any]) -> None:
    stop = config.server.stop_delay + config.timeouts.graceful
    assert stop < 10, "what `docker stop` waits by default"
    assert int(compose["services"]["shop"]["stop_grace_period"].removesuffix("s")) > stop + EXIT_SECONDS


def test_compose_mounts_what_there_is(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    mounts = [volume.split(":") for service in services for volume in service.get("volumes", [])]
    assert {source for source, *_ in mounts if source.startswith("..") and not (DOCKER / source).exists()} == set()
    assert {source for source, *_ in mounts if not source.startswith("..")} == set(compose["volumes"])
    used = {one["source"] for service in services for one in service.get("configs", [])}
    assert used == set(compose["configs"])
    context = DOCKER / compose["services"]["shop"]["build"]["context"]
    assert context.resolve() == ROOT
    assert (context / compose["services"]["shop"]["build"]["dockerfile"]).exists()


def test_compose_has_all_rules_and_dashboards(compose: dict[str, Any]) -> None:
    mounted = {Path(volume.split(":")[0]).name for one in compose["services"].values() for volume in one["volumes"]}
    prometheus = yaml.safe_load((ROOT / "packaging" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert {"prometheus.yml", *prometheus["rule_files"]} <= mounted
    assert {path.name for path in (ROOT / "packaging" / "grafana").glob("*.json")} <= mounted
    (targets,) = [one["target"] for one in compose["services"]["prometheus"]["configs"]]
    assert targets == "/etc/prometheus/targets/miniwsgi.yml"
    provider = (ROOT / "packaging/grafana/provisioning/dashboards/miniwsgi.yml").read_text("utf-8")
    (options,) = [one["options"] for one in yaml.safe_load(provider)["providers"]]
    folders = {volume.split(":")[1].rpartition("/")[0] for volume in compose["services"]["grafana"]["volumes"]}
    assert options["path"] in folders


def test_the_provided_datasource_is_the_one_of_grafana_but_for_its_address(compose: dict[str, Any]) -> None:
    (here,) = yaml.safe_load(compose["configs"]["datasource"]["content"])["datasources"]
    path = ROOT / "packaging" / "grafana" / "provisioning" / "datasources" / "miniwsgi.yml"
    (there,) = yaml.safe_load(path.read_text("utf-8"))["datasources"]
    assert {**here, "url": ""} == {**there, "url": ""}
