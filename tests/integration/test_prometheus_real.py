"""A real Prometheus watches a daemon that lives through everything: what it then knows is right and complete."""

from __future__ import annotations

import time

import pytest

from tests.support.programs import needs
from tests.support.service import Service

from .prometheus_story import compare, evaluate, live, watched

pytestmark = [
    needs("prometheus"),
    pytest.mark.timeout(300),
]


def test_prometheus_knows_what_happened_and_every_expression_has_data(service: Service) -> None:
    start = time.time()
    with watched(service) as (daemon, prometheus):
        tally = live(service, daemon, prometheus)
        compare(prometheus, tally)

        assert len(evaluate(prometheus, start)) > 150
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
        assert prometheus.ask("label/job/values", **{"match[]": "miniwsgi_build_info"}) == ["miniwsgi"]
        instances = prometheus.ask("label/instance/values", **{"match[]": 'miniwsgi_build_info{job=~"miniwsgi"}'})
        assert instances == [prometheus.target]

        compare(prometheus, tally)  # nothing has been counted twice since

        def firing() -> set[str]:
            alerts = prometheus.ask("alerts")["alerts"]
            return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

        prometheus.wait(lambda: firing() == {"MiniwsgiReloadFailed"}, firing)
        assert daemon.stop() == 0
        prometheus.wait_for_value("up", 0)
        prometheus.wait_for_value('ALERTS{alertname="MiniwsgiDown", alertstate="pending"}', 1)
