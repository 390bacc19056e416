"""openapi.json: the table of routes and the message types, as OpenAPI 3.1 has it. Nothing is written by hand twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from miniwsgi.daemon import __version__

from .. import messages as ms
from ..http.exchange import reason
from .endpoint import Endpoint

REFERENCE = "#/components/schemas/{name}"
ALWAYS = (400, 403, 405, 406, 408, 500, 503)  # any request may be answered so
SERVER = "http://localhost"

# What a type cannot say: of two fields one. Bodies of these types are not optional.
EITHER: dict[str, list[dict[str, Any]]] = {
    ms.ScaleRequest.__name__: [
        {"required": ["workers"], "properties": {"workers": {"not": {"type": "null"}}, "reset": {"const": False}}},
        {
            "required": ["reset"],
            "properties": {"reset": {"const": True}, "workers": {"type": "null"}, "persist": {"const": False}},
        },
    ],
    ms.LogLevelRequest.__name__: [
        {"required": ["level"], "properties": {"level": {"not": {"type": "null"}}, "reset": {"const": False}}},
        {"required": ["reset"], "properties": {"reset": {"const": True}, "level": {"type": "null"}}},
    ],
}


def describe(operations: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    _, schemas = msgspec.json.schema_components((*ms.REQUESTS, *ms.RESPONSES), ref_template=REFERENCE)
    for name, ways in EITHER.items():
        schemas[name]["oneOf"] = ways
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The control API of miniwsgi",
            "version": __version__,
            "description": "HTTP/1.1 with JSON on a Unix socket. Who connects is known by the kernel's word.",
        },
        "servers": [{"url": SERVER}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": _content("An error (RFC 9457)", ms.PROBLEM_TYPE, _reference(ms.Problem))},
        },
    }


def _operation(operation: Endpoint) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Takes the role `{operation.role}`.",
    }
    if parameters := [*_path_parameters(operation.path), *_query_parameters(operation)]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body.__name__ in EITHER,
            "content": _media(ms.JSON_TYPE, _reference(operation.body)),
        }
    described["responses"] = _responses(operation)
    return described


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(operation: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": query.name, "in": "query", "required": False, "description": query.doc, "schema": dict(query.schema)}
        for query in operation.query
    ]


def _responses(operation: Endpoint) -> dict[str, Any]:
    schema = _reference(operation.response) if operation.response is not None else {"type": "object"}
    found: dict[str, Any] = {}
    for status in operation.statuses:
        found[str(status)] = response = _content(reason(status), operation.produces, schema)
        if operation.also_produces:
            response["content"].update(_media(operation.also_produces, {"type": "string"}))
        if operation.response is ms.Operation and operation.method == "POST":
            response["headers"] = {"Location": {"description": "The operation", "schema": {"type": "string"}}}
    for status in sorted({*ALWAYS, *operation.refusals}):
        found[str(status)] = {"$ref": "#/components/responses/Problem"}
    return found


def _content(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": _media(media_type, schema)}


def _media(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _reference(type_: type) -> dict[str, Any]:
    return {"$ref": REFERENCE.format(name=type_.__name__)}
