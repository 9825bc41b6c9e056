"""Checks that an answer of the service conforms to the OpenAPI document."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator

from api.documents.openapi import document
from api.web.operation import Operation
from api.web.routing import PREFIX
from tests.support.operations import OPERATIONS

DOCUMENT = document(OPERATIONS)
# Answers to any request by the protocol of the server or by the machine.
ALWAYS = {"408", "431", "503"}
ROWS = [
    (
        re.compile(
            re.sub(r"{\w+}", "[^/]+", re.escape(row.path).replace(r"\{", "{").replace(r"\}", "}"))
        ),
        row,
    )
    for row in OPERATIONS
]


def require_declared(response: httpx.Response) -> None:
    """Raises AssertionError if status, media type or content are not among those declared."""
    row = _row(response.request)
    if row is None or response.status_code == 405:
        return
    status = str(response.status_code)
    declared = DOCUMENT["paths"][row.path][row.method.lower()]["responses"]
    if status in ALWAYS:
        return
    assert status in declared, f"{row.name} answers {status}, which it does not declare"
    content = declared[status].get("content")
    if content is None or response.request.method == "HEAD":
        return
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in content, f"{row.name} answers {media_type}, which it does not declare"
    if media_type.endswith(("/json", "+json")):
        response.read()
        validator = _validator(row.path, row.method, status, media_type, _chosen(response.request))
        error = next(validator.iter_errors(response.json()), None)
        assert error is None, f"{row.name}: {error}"


@cache
def _validator(
    path: str, method: str, status: str, media_type: str, chosen: bool
) -> Draft202012Validator:
    """An execution must have all its members, unless the request selects some."""
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    schema = responses[status]["content"][media_type]["schema"]
    components = DOCUMENT["components"]
    if not chosen:
        components = {"schemas": components["schemas"] | {"ChosenMembers": False}}
    return Draft202012Validator({**schema, "components": components})


def _chosen(request: httpx.Request) -> bool:
    try:
        body = request.content
    except httpx.RequestNotRead:  # it was sent in parts
        body = b""
    return "fields" in request.url.params or b'"fields"' in body


def _row(request: httpx.Request) -> Operation | None:
    method = "GET" if request.method == "HEAD" else request.method
    path = request.url.raw_path.decode().partition("?")[0].removeprefix(PREFIX)
    found = (row for pattern, row in ROWS if row.method == method and pattern.fullmatch(path))
    return next(found, None)


def nullable(schema: Any) -> bool:
    """Whether a schema allows null."""
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "null" or "null" in (schema.get("type") or ()):
        return True
    return any(nullable(kind) for kind in (*schema.get("anyOf", ()), *schema.get("oneOf", ())))
