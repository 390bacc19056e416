"""Why something failed, for whoever asked for it."""

from __future__ import annotations

from miniwsgi.codes import Code
from msgspec import Struct


class Fault(Struct, frozen=True):
    """The code of the cause, the cause in a line, and the application's traceback if there is one."""

    code: Code
    error: str
    traceback: str = ""

    def __str__(self) -> str:
        return self.error

    def after(self, event: str) -> Fault:
        """Of what follows: "the first start failed: …"."""
        return Fault(self.code, f"{event}: {self.error}")

    def of(self, subject: str) -> Fault:
        """The same as the end of a sentence: "worker/3" + "did not boot"."""
        return Fault(self.code, f"{subject} {self.error}", self.traceback)
