"""The examples in the reference of the type ServiceExecution work."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, Catalog, Executions, ok
from tests.support.operations import OPERATIONS
from tests.support.running_server import AUTHORIZED, Serving

PATHS = (
    ("GET", "/executions"),
    ("GET", "/executions/:id"),
    ("POST", "/executions"),
    ("PUT", "/executions/:id"),
    ("POST", "/executions/:id/start"),
    ("POST", "/executions/:id/pause"),
    ("POST", "/executions/:id/resume"),
    ("POST", "/executions/:id/cancel"),
    ("POST", "/executions/:id/complete"),
    ("POST", "/executions/:id/fail"),
    ("GET", "/executions/:id/logs"),
    ("POST", "/executions/:id/logs"),
    ("GET", "/executions/:id/metrics"),
)
AGENT = {"type": "ai-agent", "model": "claude-sonnet-4.5"}
SDR = {
    "type": "ai-agent",
    "id": "claude-sdr-1",
    "name": "Claude SDR Agent",
    "model": "claude-sonnet-4.5",
}
RETRIES = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 1000, "maxDelay": 60000}
CONFIGS: dict[str, JSON] = {
    "create": {
        "status": "queued",
        "progress": 0,
        "assignee": SDR,
        "priority": "normal",
        "timeout": 3600000,
        "retryPolicy": RETRIES,
    },
    "outreach": {
        "status": "queued",
        "assignee": SDR,
        "steps": [
            {"id": "research-lead-1", "name": "Research", "status": "pending", "assignee": AGENT},
            {"id": "craft-message-1", "name": "Craft", "status": "pending", "assignee": AGENT},
            {
                "id": "send-email-1",
                "name": "Send Email to John Doe",
                "status": "pending",
                "assignee": {"type": "system"},
            },
        ],
        "metrics": {"stepsTotal": 3, "stepsCompleted": 0},
    },
    "hybrid": {
        "status": "queued",
        "assignee": {
            "type": "hybrid",
            "id": "content-team",
            "name": "Content Team (AI + Human)",
        },
        "steps": [
            {"id": "research", "name": "Research Topic", "status": "pending", "assignee": AGENT},
            {
                "id": "review",
                "name": "Human Review",
                "status": "pending",
                "assignee": {"type": "human", "id": "editor-1", "name": "Sarah Editor"},
            },
        ],
    },
    "batch": {
        "status": "running",
        "progress": 0,
        "assignee": {
            "type": "system",
            "id": "batch-processor",
            "name": "Batch Processing System",
        },
        "timeout": 7200000,
        "metrics": {"stepsTotal": 1000, "stepsCompleted": 0},
    },
    "webhooks": {
        "status": "queued",
        "webhooks": [
            {
                "url": "https://api.example.com/webhooks/execution",
                "events": ["status_changed", "completed", "failed"],
                "headers": {
                    "Authorization": "Bearer token123",
                    "X-Webhook-Secret": "secret456",
                },
            },
            {
                "url": "https://slack.com/api/webhooks/abc123",
                "events": ["completed", "failed"],
            },
        ],
    },
}


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_path_of_the_reference_exists_with_and_without_the_prefix(
    server: Serving, queued_execution: str, method: str, path: str
) -> None:
    rows = {(operation.method, operation.path) for operation in OPERATIONS}
    assert (method, path.replace(":id", "{id}")) in rows
    for prefix in ("/api", ""):
        url = server.url + prefix + path.replace(":id", queued_execution)
        response = httpx.request(method, url, headers=AUTHORIZED, json={})
        assert response.status_code not in {404, 405}
        assert response.status_code < 500


@pytest.mark.parametrize("example", CONFIGS)
def test_every_configuration_of_the_reference_creates_an_execution(
    executions: Executions, example: str
) -> None:
    config = CONFIGS[example]
    created = executions.create(**config)
    assert created["status"] == config["status"]
    assert created["timeout"] == config.get("timeout", 3_600_000)
    assert created.get("assignee") == config.get("assignee")
    assert [step["id"] for step in created["steps"]] == [s["id"] for s in config.get("steps", [])]
    if "metrics" in config:
        assert created["metrics"]["stepsTotal"] == config["metrics"]["stepsTotal"]


def test_order_and_service_may_be_given_as_whole_documents(
    api: httpx.Client, catalog: Catalog
) -> None:
    order, service = (
        ok(api.get(path)) for path in (f"/orders/{catalog.order}", f"/services/{catalog.service}")
    )
    for given in ({"$id": catalog.order}, order):
        created = ok(api.post("/executions", json={"order": given, "service": service}))
        assert (created["order"], created["service"]) == (catalog.order, catalog.service)


def test_headers_of_webhooks_are_masked(executions: Executions) -> None:
    first, second = executions.create(**CONFIGS["webhooks"])["webhooks"]
    assert first["headers"] == {"Authorization": "***", "X-Webhook-Secret": "***"}
    assert first["events"] == ["status_changed", "completed", "failed"]
    assert (first["format"], second["format"]) == ("json", "slack")


def test_execution_passes_through_its_whole_lifecycle(
    api: httpx.Client, executions: Executions, queued_execution: str
) -> None:
    assert executions.tell(queued_execution, "start")["metadata"]["startedAt"]
    paused = executions.tell(queued_execution, "pause")
    assert (paused["status"], len(paused["checkpoints"])) == ("paused", 1)
    assert executions.tell(queued_execution, "resume")["status"] == "running"
    assert executions.tell(queued_execution, "progress", progress=45)["progress"] == 45
    result = {
        "success": True,
        "output": {"emails_sent": 2, "responses_received": 0, "bounce_rate": 0},
        "summary": "Successfully sent outreach to 2 leads",
        "artifacts": ["https://files.services.do/reports/exec-123.pdf"],
    }
    done = executions.tell(queued_execution, "complete", **result)
    assert (done["status"], done["progress"], done["result"]) == ("completed", 100, result)


def test_failure_is_retried_and_logged(api: httpx.Client, executions: Executions) -> None:
    execution = executions.running(retryPolicy=RETRIES)
    failed = executions.tell(
        execution,
        "fail",
        code="API_TIMEOUT",
        message="External API timeout after 30s",
        step="fetch-data",
        recoverable=True,
        retryCount=0,
    )
    assert failed["status"] == "retry"
    assert failed["error"]["code"] == "API_TIMEOUT"
    received = ok(
        api.get(f"/executions/{execution}/logs", params={"minPosition": failed["position"]})
    )["data"]
    assert [(line["level"], line["message"]) for line in received] == [
        ("error", "API_TIMEOUT: External API timeout after 30s"),
        ("warn", "Retrying after 1s (attempt 1/3)"),
    ]


def test_worker_reports_its_steps_one_by_one(executions: Executions, queued_execution: str) -> None:
    executions.tell(queued_execution, "start")
    for number in range(1, 4):
        step = f"steps/step-{number}"
        executions.tell(queued_execution, f"{step}/start", name=f"Step {number}", assignee=AGENT)
        shown = executions.tell(queued_execution, f"{step}/complete", output={"n": number})
        assert shown["steps"][-1]["duration"] >= 0
        executions.tell(queued_execution, "progress", progress=number / 3 * 100)
    done = executions.tell(
        queued_execution, "complete", success=True, output=None, summary="All steps completed"
    )
    assert [step["status"] for step in done["steps"]] == ["completed"] * 3
    assert done["metrics"]["stepsCompleted"] == done["metrics"]["stepsTotal"] == 3


def test_lines_are_logged_and_read_back(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    executions.tell(
        running_execution,
        "logs",
        level="info",
        message="Starting lead research",
        step="research-lead",
    )
    context = {"api": "linkedin", "limit": 100, "period": "1h"}
    executions.tell(
        running_execution, "logs", level="error", message="API rate limit exceeded", context=context
    )
    shown = ok(api.get(f"/executions/{running_execution}"))
    assert shown["logsTotal"] == 2
    (error,) = [line for line in shown["logs"] if line["level"] == "error"]
    assert (error["message"], error["context"]) == ("API rate limit exceeded", context)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", error["timestamp"])
    first = ok(api.get(f"/executions/{running_execution}/logs?level=info"))["data"][0]
    assert first["step"] == "research-lead"


def test_executions_are_found_by_the_queries_of_the_reference(
    api: httpx.Client, catalog: Catalog, failed_execution: str
) -> None:
    position = {"minPosition": ok(api.get(f"/executions/{failed_execution}"))["position"]}
    ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    queries: tuple[JSON, ...] = (
        {"status": "failed"},
        {"service": catalog.service},
        {"metadata.createdAt": {"$gte": ago, "$lte": soon}},
        {"status": "failed", "metadata.createdAt": {"$gte": ago}},
    )
    for query in queries:
        found = ok(api.post("/executions/find", json=query, params=position))["data"]
        assert failed_execution in {item["$id"] for item in found}, query
    assert {item["error"]["code"] for item in found} == {"SMTP"}


def test_properties_and_relations_are_read_at_their_own_paths(
    api: httpx.Client, catalog: Catalog, completed_execution: str
) -> None:
    def read(name: str) -> Any:
        response = api.get(f"/executions/{completed_execution}/{name}")
        assert response.is_success, response.text
        return response.json()

    assert read("status") == "completed"
    assert read("progress") == 100
    assert read("result")["summary"] == "Sent to 2 leads"
    assert read("metrics")["stepsTotal"] == 0
    assert read("steps") == []
    assert read("order")["customer"] == catalog.customer
    assert read("service")["name"] == "Lead outreach"
    assert [step["id"] for step in read("workflow")["steps"]] == ["research", "send"]
    assert read("customer")["name"] == "Acme"
    assert read("provider")["name"] == "Outreach Ltd"


def test_metrics_have_the_sums_of_the_reference(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    usage = {"tokensUsed": 1_000, "cost": 0.25, "apiCalls": 4}
    executions.tell(running_execution, "metrics", **usage)
    executions.tell(running_execution, "metrics", **usage)
    metrics = ok(api.get(f"/executions/{running_execution}/metrics"))
    assert (metrics["tokensUsed"], metrics["cost"], metrics["apiCalls"]) == (2_000, 0.5, 8)
    assert (metrics["retries"], metrics["durationFinal"]) == (0, False)
