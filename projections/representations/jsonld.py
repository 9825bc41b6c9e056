"""An execution as linked data: a schema.org Action in JSON-LD."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from domain.execution.types import Status

SCHEMA_ORG = "https://schema.org"
NAMES = "urn:executions:"
"""Ids are names, not links: they are the same wherever the service is reached and the document is kept."""
OURS = f"{NAMES}term:"
CONTEXT = (
    SCHEMA_ORG,
    {
        "@vocab": OURS,
        **dict.fromkeys(("$context", "$type", "$id")),
        **{name: OURS + name for name in ("code", "model", "status", "step")},
        "actionStatus": {"@id": "http://schema.org/actionStatus", "@type": "@vocab"},
        "additionalType": {"@id": "http://schema.org/additionalType", "@type": "@vocab"},
    },
)
"""Words that schema.org has not are our own, and some that it has for other things; a status and a type
are words, too, not texts or paths."""
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
USER_TYPE = {"person": "Person", "organization": "Organization"}
AGENT_TYPE = {
    "human": "Person",
    "hybrid": "Organization",
    "ai-agent": "SoftwareApplication",
    "system": "SoftwareApplication",
}


def to_jsonld(document: dict[str, Any]) -> dict[str, Any]:
    """The document of an execution as a schema.org Action in JSON-LD."""
    metrics, agent, error = document["metrics"], document.get("assignee"), document.get("error")
    shown = {
        "@context": CONTEXT,
        "@type": "Action",
        "@id": _name("execution", document["$id"]),
        "$context": SCHEMA_ORG,
        "$type": document["$type"],
        "$id": document["$id"],
        "additionalType": document["$type"],
        "status": document["status"],
        "actionStatus": ACTION_STATUS[Status(document["status"])],
        "agent": agent and _agent(agent),
        "object": _thing("order", document["order"], "Order"),
        "instrument": _thing("service", document["service"], "Service"),
        "customer": _party(document["customer"]),
        "provider": _party(document["provider"]),
        "result": _expandable(document.get("result")),
        "startTime": metrics.get("startedAt"),
        "endTime": metrics.get("completedAt"),
        "error": error and {"@type": "Thing", "name": error["code"], **error},
    }
    return {name: value for name, value in shown.items() if value is not None}


def _name(kind: str, identity: str) -> str:
    return f"{NAMES}{kind}:{quote(identity, safe='')}"


def _thing(kind: str, related: Any, schema_type: str | None) -> dict[str, Any]:
    """What an execution refers to, by its id or, expanded, whole."""
    known = related if isinstance(related, dict) else {"$id": related}
    shown = {
        "@type": schema_type,
        "@id": _name(kind, known["$id"]),
        "identifier": known["$id"],
        "name": known.get("name"),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _party(related: Any) -> dict[str, Any]:
    return _thing(
        "user", related, USER_TYPE.get(related["kind"]) if isinstance(related, dict) else None
    )


def _agent(assignee: dict[str, Any]) -> dict[str, Any]:
    """Without `id` and `type`: schema.org's context has them for other names of `@id` and `@type`."""
    more = {name: value for name, value in assignee.items() if name not in ("id", "type")}
    kind, identity = assignee["type"], assignee["id"]
    return {
        "@type": AGENT_TYPE[kind],
        "@id": _name("agent", identity),
        "additionalType": kind,
        "identifier": identity,
        **more,
    }


def _expandable(result: Any) -> Any:
    """The client's output as a JSON literal: nothing in it is a word of linked data."""
    if not (isinstance(result, dict) and isinstance(result["output"], dict | list)):
        return result
    return {**result, "output": {"@type": "@json", "@value": result["output"]}}
