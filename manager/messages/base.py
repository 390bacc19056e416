"""What all bodies of the control API have in common, and the API's own figures."""

from __future__ import annotations

from msgspec import Struct

API = "/v1"
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
EVENTS_TYPE = "application/x-ndjson"
MAX_WAIT_SECONDS = 300  # of `?wait=N`
MAX_EVENTS = 1000  # that are kept
MAX_WORKERS = 200  # of a pool, as server.workers allows


class ResponseBody(Struct):
    """What the daemon sends. Every field is always there."""


class RequestBody(Struct, forbid_unknown_fields=True):
    """What a client sends. Every field has a default; an unknown one is refused (422)."""
