"""A daemon whose access log leaves some requests out: as a reload says, and they are counted all the same."""

from __future__ import annotations

from tests.support.metrics_client import Port
from tests.support.ports import free_port
from tests.support.service import Service, get


def test_a_reload_changes_what_is_left_out(service: Service) -> None:
    metrics, log = free_port(), service.directory / "access.log"

    def configured(rules: str) -> str:
        return service.configure(
            f"""
            [server]
            workers = 1
            [proxy]
            trusted = "*"
            [log]
            access_log = "{log}"
            access_skip = {rules}
            """
        )

    def logged(path: str) -> int:
        return log.read_text("utf-8").count(f'"GET {path} HTTP/1.1"')

    daemon = service.start("-c", configured('["/healthz"]'), "--set", f"metrics.bind=127.0.0.1:{metrics}")
    daemon.wait_for_log('proxy.trusted has "*": whoever can connect is believed')
    for path in ("/healthz", "/shop"):
        get(daemon, path)
    daemon.wait(lambda: logged("/shop") == 1, "a line of /shop")
    assert logged("/healthz") == 0
    configured('["/shop"]')
    assert daemon.reload()
    for path in ("/shop", "/healthz"):
        get(daemon, path)
    daemon.wait(lambda: logged("/healthz") == 1, "a line of /healthz")
    assert logged("/shop") == 1
    daemon.wait(lambda: Port(metrics).total("miniwsgi_worker_requests_total") == 4, "all are counted")
