"""An execution as linked data: a schema.org Action in JSON-LD."""

from __future__ import annotations

from typing import Any

from domain.execution.types import Status

SCHEMA_ORG = "https://schema.org"
ACTION_STATUS = {
    Status.QUEUED: "PotentialActionStatus",
    Status.STARTING: "ActiveActionStatus",
    Status.RUNNING: "ActiveActionStatus",
    Status.PAUSED: "ActiveActionStatus",
    Status.COMPLETED: "CompletedActionStatus",
    Status.FAILED: "FailedActionStatus",
    Status.CANCELLED: "FailedActionStatus",
    Status.RETRY: "PotentialActionStatus",
}
AGENT_TYPE = {
    "human": "Person",
    "hybrid": "Organization",
    "ai-agent": "SoftwareApplication",
    "system": "SoftwareApplication",
}


def linked_data(document: dict[str, Any]) -> dict[str, Any]:
    """The document of an execution as a schema.org Action in JSON-LD."""
    metrics, agent, error = document["metrics"], document.get("assignee"), document.get("error")
    shown = {
        "@context": SCHEMA_ORG,
        "@type": "Action",
        "@id": document["$id"],
        "$context": SCHEMA_ORG,
        "$type": document["$type"],
        "$id": document["$id"],
        "additionalType": document["$type"],
        "status": document["status"],
        "actionStatus": ACTION_STATUS[Status(document["status"])],
        "agent": agent and _agent(agent),
        "object": document["service"],
        "customer": document["customer"],
        "provider": document["provider"],
        "result": _expandable(document.get("result")),
        "startTime": metrics.get("startedAt"),
        "endTime": metrics.get("completedAt"),
        "error": error and {"@type": "Thing", "name": error["code"], **error},
    }
    return {name: value for name, value in shown.items() if value is not None}


def _agent(assignee: dict[str, Any]) -> dict[str, Any]:
    """Without `id` and `type`: schema.org's context has them for other names of `@id` and `@type`."""
    more = {name: value for name, value in assignee.items() if name not in ("id", "type")}
    kind = assignee["type"]
    return {"@type": AGENT_TYPE[kind], "@id": assignee["id"], "additionalType": kind, **more}


def _expandable(result: Any) -> Any:
    """The client's output as a JSON literal: nothing in it is a word of linked data."""
    if not (isinstance(result, dict) and isinstance(result["output"], dict | list)):
        return result
    return {**result, "output": {"@type": "@json", "@value": result["output"]}}
