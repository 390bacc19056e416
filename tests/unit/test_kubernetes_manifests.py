"""The Kubernetes manifests: valid for the API's versions, in agreement with each other, with the configuration that
they carry and with the metrics that there are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.master.supervising.stopping import EXIT_SECONDS
from miniwsgi.metrics.declared import DECLARED

kubernetes_validate = pytest.importorskip("kubernetes_validate")
jsonschema = pytest.importorskip("jsonschema")

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "kubernetes"
VERSIONS = ["1.27", "1.30", "1.33"]
JOBS = "miniwsgi"  # what the jobs begin with that packaging/prometheus looks at
METRICS = {declared.name for declared in DECLARED}


def document(name: str) -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CUSTOM = {"podmonitor", "scaledobject", "kustomization"}

# --- schemas of custom resources: those fields of them that are used here, as their definitions have them ----------

NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": "^(0|([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object of these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = closed(["name"], name=NAME, namespace=NAME, labels=LABELS, annotations=LABELS)


def resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    must = ["apiVersion", "kind", "metadata", "spec"]
    return closed(must, apiVersion={"const": version}, kind={"const": kind}, metadata=METADATA, spec=spec)


# prometheus-operator, monitoring.coreos.com_podmonitors.yaml, version v1
POD_MONITOR = resource(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    closed(
        ["selector", "podMetricsEndpoints"],
        jobLabel={"type": "string"},
        podTargetLabels={"type": "array", "items": {"type": "string"}},
        namespaceSelector=closed([], any={"type": "boolean"}, matchNames={"type": "array", "items": NAME}),
        selector=closed([], matchLabels=LABELS, matchExpressions={"type": "array"}),
        podMetricsEndpoints={
            "type": "array",
            "minItems": 1,
            "items": closed(
                [],
                port={"type": "string"},
                path={"type": "string"},
                scheme={"enum": ["http", "https"]},
                interval=DURATION,
                scrapeTimeout=DURATION,
                honorLabels={"type": "boolean"},
                bearerTokenSecret=closed(["key"], name=NAME, key={"type": "string"}),
                relabelings={
                    "type": "array",
                    "items": closed(
                        [],
                        sourceLabels={"type": "array", "items": {"type": "string", "pattern": "^[a-zA-Z_]\\w*$"}},
                        separator={"type": "string"},
                        targetLabel={"type": "string"},
                        regex={"type": "string"},
                        replacement={"type": "string"},
                        action={"enum": ["replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep", "hashmod"]},
                    ),
                },
            ),
        },
    ),
)
# KEDA, keda.sh_scaledobjects.yaml, version v1alpha1
COUNT = {"type": "integer", "minimum": 0}
SCALING_RULES = closed(
    [],
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies={
        "type": "array",
        "items": closed(
            ["type", "value", "periodSeconds"], type={"enum": ["Pods", "Percent"]}, value=COUNT, periodSeconds=COUNT
        ),
    },
)
SCALED_OBJECT = resource(
    "keda.sh/v1alpha1",
    "ScaledObject",
    closed(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=closed(["name"], name=NAME, kind={"type": "string"}, apiVersion={"type": "string"}),
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        advanced=closed(
            [],
            restoreToOriginalReplicaCount={"type": "boolean"},
            horizontalPodAutoscalerConfig=closed(
                [], behavior=closed([], scaleUp=SCALING_RULES, scaleDown=SCALING_RULES)
            ),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": closed(
                ["type", "metadata"],
                type={"const": "prometheus"},
                name={"type": "string"},
                metricType={"enum": ["AverageValue", "Value"]},
                useCachedMetrics={"type": "boolean"},
                authenticationRef=closed(["name"], name=NAME, kind={"type": "string"}),
                metadata={
                    "type": "object",
                    "required": ["serverAddress", "query", "threshold"],
                    "additionalProperties": {"type": "string"},  # numbers, too, are texts
                },
            ),
        },
    ),
)


# --- validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(set(FILES) - CUSTOM))
def test_the_api_accepts_it(name: str, version: str) -> None:
    kubernetes_validate.validate(document(name), version, strict=True)


@pytest.mark.parametrize(("name", "schema"), [("podmonitor", POD_MONITOR), ("scaledobject", SCALED_OBJECT)])
def test_custom_resources_are_as_their_definitions_want_them(name: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document(name), schema)


def test_mistakes_are_seen() -> None:
    wrong = document("deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
    wrong = document("scaledobject")
    wrong["spec"]["triggers"][0]["metadata"]["threshold"] = 0.65
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCALED_OBJECT)


def test_kustomize_has_each_file_and_one_autoscaler() -> None:
    text = (FOLDER / "kustomization.yaml").read_text("utf-8")
    named = set(re.findall(r"- (\w+)\.yaml$", text, re.MULTILINE))
    assert named == set(FILES) - {"kustomization"}
    used = {Path(name).stem for name in document("kustomization")["resources"]}
    assert len(used & {"scaledobject", "horizontalpodautoscaler"}) == 1


# --- agreement --------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The ConfigMap's file as the daemon reads it."""
    path = tmp_path / "miniwsgi.toml"
    text = document("configmap")["data"]["miniwsgi.toml"]
    assert 'directory = "/srv/app"' in text
    path.write_text(text.replace('"/srv/app"', f'"{tmp_path}"'), "utf-8")
    return load(str(path), {}, {}, directory=str(tmp_path))


@pytest.fixture
def pod() -> dict[str, Any]:
    found = document("deployment")["spec"]["template"]["spec"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def port_of(container: dict[str, Any], name: str | int) -> int:
    (found,) = [port["containerPort"] for port in container["ports"] if name in (port["name"], port["containerPort"])]
    assert isinstance(found, int)
    return found


def test_ports_are_those_of_the_configuration(config: Config, container: dict[str, Any]) -> None:
    assert [bind.address for bind in config.server.bind] == [f":{port_of(container, 'http')}"]
    assert config.metrics.bind.address == f":{port_of(container, 'metrics')}"
    (port,) = document("service")["spec"]["ports"]
    assert port["targetPort"] == "http"
    (endpoint,) = document("podmonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    policy = document("networkpolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in policy] == ["http", "metrics"]


def test_probes_ask_the_metrics_port(container: dict[str, Any]) -> None:
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/startupz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {port_of(container, probe["port"]) for probe in asked.values()} == {port_of(container, "metrics")}


def test_a_boot_fits_into_the_startup_probe(config: Config, container: dict[str, Any]) -> None:
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > config.timeouts.boot


def test_a_stop_fits_into_the_grace_period(config: Config, pod: dict[str, Any], container: dict[str, Any]) -> None:
    stop = config.server.stop_delay + config.timeouts.graceful + EXIT_SECONDS
    assert pod["terminationGracePeriodSeconds"] > stop
    probe = container["readinessProbe"]
    assert config.server.stop_delay > probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert config.timeouts.request < config.timeouts.graceful, "what is allowed to run is allowed to finish"


def test_a_read_only_container_can_write_where_the_daemon_must(config: Config, container: dict[str, Any]) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert str(Path(config.control.socket).parent) in writable
    assert "/tmp" in writable
    assert container["args"][-1] == "/etc/miniwsgi/miniwsgi.toml"
    assert {"mountPath": "/etc/miniwsgi", "name": "config", "readOnly": True} in container["volumeMounts"]


def test_volumes_and_names_exist(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["volumes"][0]["configMap"]["name"] == document("configmap")["metadata"]["name"]
    deployment = document("deployment")
    for name in ("horizontalpodautoscaler", "scaledobject"):
        assert document(name)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"], document("poddisruptionbudget")["spec"]["selector"]]
    selectors += [document("podmonitor")["spec"]["selector"], document("networkpolicy")["spec"]["podSelector"]]
    selectors += [{"matchLabels": document("service")["spec"]["selector"]}]
    assert all(selector == {"matchLabels": labels} for selector in selectors)


def test_autoscalers_go_by_metrics_that_there_are() -> None:
    (metric,) = document("horizontalpodautoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in METRICS
    (trigger,) = document("scaledobject")["spec"]["triggers"]
    named = set(re.findall(r"\bminiwsgi_\w+", trigger["metadata"]["query"]))
    assert named
    assert named <= METRICS
    in_comments = re.findall(r"\bminiwsgi_\w+", (FOLDER / "horizontalpodautoscaler.yaml").read_text("utf-8"))
    assert set(in_comments) <= METRICS


def test_the_job_is_the_same_everywhere_and_one_that_the_alerts_look_at() -> None:
    (endpoint,) = document("podmonitor")["spec"]["podMetricsEndpoints"]
    (job,) = [rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"]
    assert job.startswith(JOBS)
    (trigger,) = document("scaledobject")["spec"]["triggers"]
    assert f'job="{job}"' in trigger["metadata"]["query"]


def test_both_autoscalers_mean_the_same() -> None:
    plain, keda = document("horizontalpodautoscaler")["spec"], document("scaledobject")["spec"]
    assert (plain["minReplicas"], plain["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
    target = plain["metrics"][0]["pods"]["target"]["averageValue"]
    assert int(target.removesuffix("m")) / 1000 == float(keda["triggers"][0]["metadata"]["threshold"])
    assert "replicas" not in document("deployment")["spec"], "a rollout would set them back"
