"""A headless Chromium for tests, driven over a pipe (Chrome DevTools Protocol): what a page shows, and what it logs."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.programs import program
from tests.support.waiting import PATIENCE_SECONDS, wait_for


class Browser:
    """A context: one page. `errors` has what its console and its policies complained about."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0
        self._received = b""
        self._session = ""
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        chromium = program("chromium")
        commands_read, self._commands = os.pipe()
        self._answers, answers_write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        script = f'exec "$@" 3<&{commands_read} 4>&{answers_write}'
        self._process = subprocess.Popen(
            [
                "bash", "-c", script, "bash", chromium, "--headless", "--no-sandbox", "--disable-gpu",
                "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-pipe", f"--user-data-dir={self._directory / 'profile'}", "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self._directory)},
            pass_fds=(commands_read, answers_write),
        )  # fmt: skip
        os.close(commands_read)
        os.close(answers_write)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._session = ""
            if self._process.poll() is None:
                self.call("Browser.close")
                self._process.wait(PATIENCE_SECONDS)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            os.close(self._commands)
            os.close(self._answers)

    # --- what it is told ---

    def call(self, method: str, **parameters: Any) -> Any:
        """A command, and its result. Raises AssertionError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def view(self, width: int, height: int, scheme: str = "light", *, script: bool = True) -> None:
        """How what is opened next is looked at."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(lambda: self.value("document.readyState") == "complete", f"{url} is loaded")

    # --- what it shows ---

    def value(self, expression: str) -> Any:
        """What an expression is worth on the page, a promise in the end; also where the page has no script."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element that is meant, as it is read."""
        return " ".join(str(self.value(f"document.querySelector({json.dumps(selector)}).textContent")).split())

    def screenshot(self, path: Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(found["data"]))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Raises AssertionError that names `what`."""
        wait_for(condition, what, story=lambda: f"errors: {self.errors}", every_seconds=0.05)

    # --- inside ---

    def _receive(self, deadline: float, what: str) -> Any:
        while b"\0" not in self._received:
            left = deadline - time.monotonic()
            assert left > 0, f"no answer to {what}"
            if select.select([self._answers], [], [], left)[0]:
                data = os.read(self._answers, 1 << 20)
                assert data, f"the browser has ended before its answer to {what}"
                self._received += data
        message, _, self._received = self._received.partition(b"\0")
        said = json.loads(message)
        self._note(said.get("method", ""), said.get("params", {}))
        return said

    def _note(self, event: str, about: Any) -> None:
        if event == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(about["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(json.dumps(about["args"]))
