"""Daemons for these tests are started as for the integration tests: see `Service`."""

from __future__ import annotations

from tests.support.service import service

__all__ = ["service"]
