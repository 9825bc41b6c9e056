"""Successful answers have the form and the headers of the OpenAPI document, and no other documented headers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.documents.openapi import ANSWER_HEADERS
from api.web.operation import Operation
from tests.support.api_client import ERROR, Catalog, Executions
from tests.support.declared import DOCUMENT, nullable, require_declared
from tests.support.operation_examples import BODIES, HOOK, STEP, path_of
from tests.support.operations import OPERATIONS
from tests.support.ports import free_port
from tests.support.running_server import Serving, serving

ANSWERED = [row for row in OPERATIONS if row.media_type != "text/event-stream"]
# Commands to a running execution after which a command is legal.
BEFORE: dict[str, tuple[str, dict[str, Any]]] = {
    "resume": ("pause", {}),
    "retry": ("fail", ERROR),
    "completeStep": ("steps/s-1/start", {}),
    "failStep": ("steps/s-1/start", {}),
}
BARE_LIST = {"Link", "Next-Cursor", "Total-Count"}
# Each command of a batch has its own answer: none may have been accepted or repeated. Values about a page
# of a list are sent in headers only with `profile=array`.
PERHAPS = {
    "sendCommands": {"Log-Position", "Idempotency-Replayed"},
    "listExecutions": BARE_LIST,
    "findExecutions": BARE_LIST,
}


MADE = {"holds": "placeHold", "grants": "createGrant", "keys": "createKey"}
ONCE = {"removeWebhook"}
"""Operations that find nothing the second time, unless repeated with the same key."""


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Serving]:
    """A server whose map has only its own log, so that requests to all logs are answered."""
    port = free_port()
    with serving(module_database, port, cells=f"here=http://127.0.0.1:{port}") as running:
        yield running


def names(operation: Operation) -> str:
    return operation.name


@pytest.fixture
def path(operation: Operation, executions: Executions, catalog: Catalog, api: httpx.Client) -> str:
    """A path at which a request of this operation succeeds."""
    kind = operation.path.split("/")[1]
    if kind == "orders" and "{id}" in operation.path:
        order = {"service": catalog.service, "customer": catalog.customer}
        return path_of(operation, str(api.post("/orders", json=order).json()["$id"]))
    if kind == "jobs":
        asked, body = "/executions/bulk", BODIES["bulkExecutions"]
        if operation.name == "readReceipt":
            asked, body = f"/users/{catalog.customer}/erase", BODIES["eraseCustomer"]
        return path_of(operation, str(api.post(asked, json=body).json()["$id"]))
    if kind == "webhooks":
        return path_of(operation, _delivered(api))
    if kind in MADE:
        made = api.post(f"/{kind}", json=BODIES[MADE[kind]])
        return path_of(operation, str(made.json()["$id"]))
    if kind not in {"executions", "audit"}:
        known = {f"{name}s": identity for name, identity in catalog._asdict().items()}
        return path_of(operation, {**known, "users": catalog.customer}.get(kind, "none"))
    if operation.name == "claimExecution":
        for _ in range(3):
            executions.create()
    execution = executions.running(steps=[STEP], webhooks=[HOOK])
    if operation.name in BEFORE:
        command, content = BEFORE[operation.name]
        executions.tell(execution, command, **content)
    queries = {
        "diff": "?from=1&to=2",
        "compare": f"?with={execution}&withVersion=2",
        "proveInclusion": "?position=1&minPosition=1",
        "proveConsistency": "?from=1&minPosition=1",
    }
    return path_of(operation, execution) + queries.get(operation.name, "")


def _delivered(api: httpx.Client) -> str:
    """A webhook with a delivery of the first event of the log."""
    hook = {"url": "http://127.0.0.1:9/", "events": ["*"], "from": "start"}
    webhook = str(api.post("/webhooks", json=hook).json()["$id"])
    end = time.monotonic() + 30
    again = f"/webhooks/{webhook}/deliveries/1/redeliver"
    while api.post(again).status_code != 202:
        assert time.monotonic() < end
        time.sleep(0.05)
    return webhook


@pytest.mark.parametrize("operation", ANSWERED, ids=names)
def test_successful_response_has_the_documented_form_and_headers(
    api: httpx.Client, operation: Operation, path: str
) -> None:
    """The client compares the content with the document, as for every answer."""
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    received, sent = described[str(operation.status)], set[str]()
    minimal = {"Prefer": "return=minimal", "Idempotency-Key": operation.name}
    for asked in (minimal, minimal) if operation.name in ONCE else ({}, minimal, minimal):
        body = BODIES.get(operation.name)
        response = api.request(operation.method, path, json=body, headers=asked)
        assert response.status_code == operation.status, response.text
        sent |= {name for name in ANSWER_HEADERS if name in response.headers}
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in received["content"]
    assert sent | PERHAPS.get(operation.name, set()) == received.get("headers", {}).keys()


# Sealed content, which is null after an erasure; an absent limit; the end of a list.
NULLS = {
    "ServiceExecution.result",
    "ServiceExecution.timeout",
    "ShownCancellation.reason",
    "ShownCheckpoint.state",
    "ShownError.message",
    "ShownError.stack",
    "ShownLog.message",
    "ShownPause.reason",
    "ShownStep.input",
    "ShownStep.output",
    "ShownStep.reason",
}


def test_document_member_is_nullable_in_openapi_only_where_it_can_be_null() -> None:
    found = {
        f"{name}.{member}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if name.startswith("Shown") or name in {"ServiceExecution", "Place"}
        for member, shown in schema["properties"].items()
        if nullable(shown) or shown.get("default", "") is None
    }
    assert found == NULLS


def test_undeclared_answer_is_detected(api: httpx.Client, running_execution: str) -> None:
    shown = api.get(f"/executions/{running_execution}")
    lies = ({"nextRetryAt": None}, {"nonsense": 1}, {"logs": [{"level": "loud"}]}, {"tags": [None]})
    for lie in lies:
        received = httpx.Response(200, json={**shown.json(), **lie}, request=shown.request)
        with pytest.raises(AssertionError):
            require_declared(received)
    with pytest.raises(AssertionError):
        require_declared(httpx.Response(418, request=shown.request))
    require_declared(shown)


def test_conditions_and_keys_are_declared_where_they_have_an_effect() -> None:
    def headers(name: str) -> set[str]:
        (row,) = (row for row in OPERATIONS if row.name == name)
        shown = DOCUMENT["paths"][row.path][row.method.lower()]["parameters"]
        return {parameter["name"] for parameter in shown if parameter["in"] == "header"}

    assert headers("log") == {"Idempotency-Key", "If-Match"}
    for command in ("start", "createExecution", "createOrder", "createUser"):
        assert {"Idempotency-Key", "If-Match"} <= headers(command)


def test_log_answer_declares_the_number_of_appended_lines(
    api: httpx.Client, running_execution: str
) -> None:
    row = DOCUMENT["paths"]["/executions/{id}/logs"]["post"]["responses"]["200"]
    schema = row["content"]["application/json"]["schema"]
    assert schema["properties"]["appended"]["type"] == "integer"
    lines = [{"level": "info", "message": "one"}] * 3
    assert api.post(f"/executions/{running_execution}/logs", json=lines).json() == {"appended": 3}
