"""A stock Flask application has figures by route: in metrics and the control API, also of what takes too long."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.control import Control, control_of
from tests.support.daemon import Daemon
from tests.support.metrics_client import Port
from tests.support.ports import free_port
from tests.support.service import Service, get

pytest.importorskip("flask")
APPLICATION = """
import os, time

from flask import Flask

app = Flask(__name__)

@app.get("/orders/<int:number>")
def order(number):
    return str(number)

@app.get("/hangs/<int:number>")
def hangs(number):
    while os.path.exists("held"):
        time.sleep(0.01)
    return ""
"""
COUNT = re.compile(r"http_server_request_duration_seconds_count\{(.*)\}")


def test_a_stock_application_has_figures_by_route(service: Service) -> None:
    port = free_port()
    service.write(APPLICATION)
    service.hold()
    configuration = service.configure("[server]\nworkers = 1\n")
    control = ("--control", str(service.directory / "control.sock"))
    daemon = service.start("-c", configuration, "--set", f"metrics.bind=127.0.0.1:{port}", *control)
    for number in range(3):
        get(daemon, f"/orders/{number}")
        get(daemon, f"/nowhere/{number}")
    service.configure("[server]\nworkers = 1\n[timeouts]\nrequest = 0.5\n")  # which the others may take longer than
    assert daemon.reload()
    get(daemon, "/hangs/1")
    service.release()
    daemon.wait(lambda: Port(port).total("http_server_request_duration_seconds_count") == 7, "all are counted")
    series = Port(port).scrape()
    told = {}
    for name, value in series.items():
        if found := COUNT.fullmatch(name):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
            told[labels.get("http_route", ""), labels["http_response_status_code"]] = value
    assert told == {("/orders/<int:number>", "200"): 3, ("", "404"): 3, ("/hangs/<int:number>", "504"): 1}
    assert series['miniwsgi_route_cpu_seconds_total{http_route="/orders/<int:number>"}'] > 0
    assert series['miniwsgi_route_response_bytes_total{http_route="/orders/<int:number>"}'] == 3
    routes = told_of_routes(daemon)["routes"]
    assert {one["name"]: (one["requests"], one["errors"]) for one in routes} == {
        "/orders/<int:number>": (3, 0),
        None: (3, 0),
        "/hangs/<int:number>": (1, 1),
    }
    assert told_of_routes(daemon)["looked_for"]
    service.configure('[server]\nworkers = 1\n[metrics]\nroutes = "off"\n')
    assert daemon.reload()
    assert not told_of_routes(daemon)["looked_for"]


def told_of_routes(daemon: Daemon) -> Any:
    with Control(control_of(daemon)) as client:
        return client.get("/routes").json
