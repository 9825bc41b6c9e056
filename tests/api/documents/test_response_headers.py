"""A good answer has the form and the headers that the OpenAPI document says, and no others of these."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator

from api.app import OPERATIONS
from api.documents.openapi import ANSWER_HEADERS, document
from api.web.operation import Operation
from tests.support.api_client import ERROR, Catalog, Executions
from tests.support.operation_examples import BODIES, STEP, path_of

DOCUMENT = document(OPERATIONS)
ANSWERED = [row for row in OPERATIONS if row.media_type != "text/event-stream"]
# What has to be done to an execution that runs, so that a command is legal.
BEFORE: dict[str, tuple[str, dict[str, Any]]] = {
    "resume": ("pause", {}),
    "retry": ("fail", ERROR),
    "completeStep": ("steps/s-1/start", {}),
    "failStep": ("steps/s-1/start", {}),
}
# Each of many commands has its own answer: none may have been taken, or given before.
PERHAPS = {"sendCommands": {"Log-Position", "Idempotency-Replayed"}}


def names(operation: Operation) -> str:
    return operation.name


@pytest.fixture
def path(operation: Operation, executions: Executions, catalog: Catalog, api: httpx.Client) -> str:
    """Where a request of this operation does something."""
    kind = operation.path.split("/")[1]
    if operation.name == "confirmOrder":
        order = {"service": catalog.service, "customer": catalog.customer}
        return path_of(operation, str(api.post("/orders", json=order).json()["$id"]))
    if kind != "executions":
        known = {f"{name}s": identity for name, identity in catalog._asdict().items()}
        return path_of(operation, {**known, "users": catalog.customer}.get(kind, "none"))
    execution = executions.running(steps=[STEP])
    if operation.name in BEFORE:
        command, content = BEFORE[operation.name]
        executions.tell(execution, command, **content)
    versions = "?from=1&to=2" if operation.name == "diff" else ""
    return path_of(operation, execution) + versions


@pytest.mark.parametrize("operation", ANSWERED, ids=names)
def test_successful_response_has_the_documented_form_and_headers(
    api: httpx.Client, operation: Operation, path: str
) -> None:
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    told, sent = described[str(operation.status)], set[str]()
    minimal = {"Prefer": "return=minimal", "Idempotency-Key": operation.name}
    for asked in ({}, minimal, minimal):
        body = BODIES.get(operation.name)
        response = api.request(operation.method, path, json=body, headers=asked)
        assert response.status_code == operation.status, response.text
        sent |= {name for name in ANSWER_HEADERS if name in response.headers}
        media_type = response.headers["content-type"].partition(";")[0]
        schema = told["content"][media_type]["schema"]
        if media_type.endswith("json"):
            whole = OAS31Validator({**schema, "components": DOCUMENT["components"]})
            whole.validate(response.json())
    assert sent | PERHAPS.get(operation.name, set()) == told.get("headers", {}).keys()
