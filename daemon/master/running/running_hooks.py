"""Which of the application's hooks a launcher or worker is inside, by what it says (`channel`: hook)."""

from __future__ import annotations

import time

from ...channel import Message


class RunningHooks:
    """`since`: when each began, by its name, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<RunningHooks {list(self.since)}>"

    def hear(self, message: Message) -> None:
        """One begins, or has ended."""
        if message["runs"]:
            self.since[message["name"]] = time.monotonic()
        else:
            self.since.pop(message["name"], None)
