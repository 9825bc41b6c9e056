"""A valid body for every operation that takes one, and a path for every operation."""

from __future__ import annotations

from typing import Any

from api.web.operation import Operation
from tests.support.operations import OPERATIONS
from tests.support.running_server import TOKEN

JSON = dict[str, Any]

ERROR: JSON = {"code": "SMTP", "message": "No answer", "stack": "at line 1", "recoverable": True}
USAGE: JSON = {"tokensUsed": 120, "cost": 0.02, "apiCalls": 3, "model": "claude-sonnet-4.5"}
ASSIGNEE: JSON = {"type": "ai-agent", "id": "claude-1", "name": "Claude", "model": "sonnet"}
STEP: JSON = {"id": "s-1", "name": "Research", "assignee": {"type": "human"}, "input": {"lead": 42}}
POLICY: JSON = {
    "maxRetries": 3,
    "backoff": "exponential",
    "initialDelay": 1_000,
    "maxDelay": 60_000,
    "jitter": "full",
}
HOOK: JSON = {"url": "https://hooks.example/hook", "events": ["completed"], "headers": {"X": "y"}}
SETTINGS: JSON = {
    "assignee": ASSIGNEE,
    "priority": "high",
    "timeout": 7_200_000,
    "retryPolicy": POLICY,
    "heartbeatTimeout": 60_000,
    "onLeaseLost": "resume",
    "webhooks": [HOOK],
    "tags": ["eu"],
    "metadata": {"environment": "test", "region": "north"},
}
BODIES: dict[str, Any] = {
    "createExecution": {"order": "order-123", "service": "sdr-service", "steps": [STEP]} | SETTINGS,
    "forkExecution": {"version": 1},
    "findExecutions": {"status": {"$in": ["running", "paused"]}, "metadata.region": "north"},
    "update": SETTINGS | {"progress": 45},
    "updatePartly": SETTINGS | {"progress": 45},
    "updateProgress": {"progress": 45.5},
    "start": {},
    "pause": {"state": {"page": 3}, "reason": "lunch"},
    "resume": {"checkpointId": "cp-1"},
    "complete": {"success": True, "output": {"sent": 2}, "summary": "Sent", "usage": USAGE},
    "fail": ERROR,
    "retry": {},
    "cancel": {"reason": "changed my mind"},
    "heartbeat": {},
    "eraseExecution": {"reason": "Jane asked for it"},
    "eraseOrder": {"reason": "Jane asked for it"},
    "eraseCustomer": {"reason": "Jane asked for it"},
    "claimExecution": {"worker": "worker-1", "lease": 30_000},
    "recordUsage": USAGE,
    "checkpoint": {"state": {"page": 3}, "step": "s-1"},
    "declareSteps": {"steps": [STEP]},
    "startStep": {"name": "Research", "assignee": ASSIGNEE, "input": {"lead": 42}},
    "completeStep": {"output": {"emails": 2}, "usage": USAGE},
    "failStep": ERROR,
    "skipStep": {"reason": "not needed"},
    "log": {"level": "info", "message": "Starting", "step": "s-1", "context": {"lead": 42}},
    "sendCommands": [{"command": "start", "execution": "exec_1"}],
    "createService": {"name": "Lead outreach", "provider": "outreach", "description": "All of it"},
    "createWorkflow": {"name": "Outreach", "steps": [{"id": "s-1", "name": "Research"}]},
    "createOrder": {
        "service": "sdr-service",
        "customer": "acme",
        "params": {"leads": 3},
        "priority": "high",
    },
    "createUser": {"name": "Acme", "kind": "organization"},
    "createWebhook": {"url": HOOK["url"], "events": ["order.*"], "headers": {"X": "y"}},
    "updateWebhook": {"events": ["completed"], "filter": {"service": "sdr-service"}},
    "rotateSecret": {"overlap": 60_000},
    "enableWebhook": {},
    "disableWebhook": {},
    "redeliverFailed": {"since": "2026-11-22T12:00:00Z"},
    "rewindWebhook": {"from": "start"},
    "confirmOrder": {"execution": "exec_1"},
    "cancelOrder": {"reason": "changed my mind"},
    "bulkExecutions": {"command": "cancel", "filter": {"tags": "eu"}, "reason": "not needed"},
    "cancelJob": {},
    "placeHold": {"service": "sdr-service", "reason": "Audit of the year"},
    "createKey": {
        "role": "provider",
        "party": "outreach",
        "name": "ci",
        "rights": ["executions.work"],
    },
    "revokeKey": {},
    "startSession": {"token": TOKEN},
    "releaseHold": {"reason": "The audit is over"},
    "createGrant": {
        "auditor": "ann",
        "service": "sdr-service",
        "purpose": "Audit of the year",
        "expiresAt": "2099-01-01T00:00:00Z",
    },
    "revokeGrant": {},
}
WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]


def path_of(operation: Operation, identity: str = "no-such") -> str:
    """The path with all its parameters filled in."""
    filled = operation.path
    for name, value in (
        ("id", identity),
        ("step", "s-1"),
        ("webhook", identity),
        ("position", "1"),
        ("code", "invalid"),
        ("level", "0"),
        ("index", "0"),
    ):
        filled = filled.replace(f"{{{name}}}", value)
    return filled
