"""A real Prometheus under test: on loopback, its data in a directory of the test's, with the rules from packaging/.

It scrapes and evaluates rules every second or two, so that what takes hours in life takes seconds. On a busy machine a
scrape may fail: a moment later there is a value again.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.support.ports import free_port
from tests.support.promql import PROMETHEUS
from tests.support.waiting import PATIENCE_SECONDS, wait_for

T = TypeVar("T")

SCRAPE = "2s"  # as long as the application's metrics may take on a machine that has other things to do
COUNTERS = '{__name__=~".+(_total|_bucket|_count|_sum)",job="miniwsgi"}'


class Prometheus:
    """A context: Prometheus is ready on entry, gone on exit. It scrapes `target` (host:port) as job miniwsgi.

    `stand_ins` are recording rules for families that this machine cannot have: name -> expression.
    """

    def __init__(self, directory: Path, target: str, stand_ins: dict[str, str]) -> None:
        self.directory = directory
        self.target = target
        self.url = ""
        self._configure(stand_ins)
        self._process: subprocess.Popen[bytes]

    def _configure(self, stand_ins: dict[str, str]) -> None:
        """What is shipped, but faster, and for this target."""
        shutil.copytree(PROMETHEUS, self.directory)
        path = self.directory / "prometheus.yml"
        found = yaml.safe_load(path.read_text("utf-8"))
        found["global"] = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": "1s"}
        (job,) = found["scrape_configs"]
        del job["scrape_timeout"]
        (self.directory / "targets" / "miniwsgi.yml").write_text(yaml.safe_dump([{"targets": [self.target]}]), "utf-8")
        if stand_ins:
            rules = [{"record": name, "expr": text} for name, text in stand_ins.items()]
            (self.directory / "stand_ins.yml").write_text(
                yaml.safe_dump({"groups": [{"name": "stand-ins", "rules": rules}]}), "utf-8"
            )
            found["rule_files"].append("stand_ins.yml")
        path.write_text(yaml.safe_dump(found), "utf-8")

    def __enter__(self) -> Prometheus:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"),
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_for(self._is_ready, "Prometheus is ready", every_seconds=0.05)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self.directory / "log").read_text("utf-8", "replace")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE_SECONDS):
                return True
        except OSError:
            return False

    def _end(self) -> None:
        self._process.kill()  # its data is thrown away
        self._process.wait(PATIENCE_SECONDS)

    # --- its API ------------------------------------------------------------------------------------------

    def ask(self, path: str, **parameters: object) -> Any:
        """The data that an endpoint answers with. Raises AssertionError on an error or a warning."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=PATIENCE_SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def series(self, text: str) -> list[tuple[dict[str, str], float]]:
        """An expression's series now, with their values."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=text)["result"]]

    def value(self, text: str) -> float:
        """The sum over an expression's series now; 0 without any."""
        return sum(value for _, value in self.series(text))

    def value_of(self, text: str) -> float:
        """The same, as it was last in the past ten seconds; once there is any."""
        found = self.wait(lambda: self.series(f"last_over_time(({text})[10s:1s])"), lambda: f"{text}: nothing")
        return sum(value for _, value in found)

    def by(self, label: str, text: str) -> dict[str, float]:
        """An expression's values now, those that are not 0, by a label that tells its series apart."""
        return {labels.get(label, ""): value for labels, value in self.series(text) if value}

    def over(self, text: str, start: float) -> list[list[float]]:
        """An expression's series since a Unix time, second by second, as Grafana asks: what is a number in each."""
        found = self.ask("query_range", query=text, start=start, end=time.time(), step=1)["result"]
        series = [[float(value) for _, value in one["values"]] for one in found]
        return [numbers for one in series if (numbers := [value for value in one if math.isfinite(value)])]

    def wait(self, condition: Callable[[], T], what: Callable[[], object]) -> T:
        """Poll until the condition holds; what it then is. Raises AssertionError with `what`."""
        return wait_for(condition, story=what, every_seconds=0.1)

    def wait_for_value(self, text: str, wanted: float) -> None:
        """Wait until an expression's sum is that, after some scrape."""
        self.wait(lambda: self.value(text) == wanted, lambda: f"{text}: {self.value(text):g}, not {wanted:g}")

    def wait_for_series(self, text: str, wanted: dict[str, float], label: str) -> None:
        """Wait until an expression's values by a label, without those that are 0, are these."""
        self.wait(lambda: self.by(label, text) == wanted, lambda: f"{text}: {self.by(label, text)}, not {wanted}")

    def set_back(self) -> list[str]:
        """Which counters ever became less."""
        names = self.ask("label/__name__/values", **{"match[]": COUNTERS})
        assert names
        return [name for name in names if self.value(f"sum(resets({name}[1h]))")]


def filled_in(text: str, target: str) -> str:
    """A dashboard's expression with its variables as Grafana fills them in."""
    values = {"job": "miniwsgi", "instance": target, "__rate_interval": "8s", "__range": "1m", "__interval": "1s"}
    done = re.sub(r"\$(\w+)", lambda found: values.get(found[1], found[0]), text)
    assert not re.search(r"\$\w", done), done
    return done
