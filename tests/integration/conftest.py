"""What these tests are given: a `service` is a daemon of a real master, a `site` has workers without one."""

from __future__ import annotations

from tests.support.service import service, shared_service

from .worker_harness import made_site

__all__ = ["made_site", "service", "shared_service"]
