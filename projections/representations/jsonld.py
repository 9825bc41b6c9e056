"""Converts the document of an execution to linked data: a schema.org Action in JSON-LD."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from domain.execution.types import Status

SCHEMA_ORG = "https://schema.org"
NAMES = "urn:executions:"
"""The prefix of ids. They are URNs, not URLs, so they do not depend on the address of the service."""
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
"""The JSON-LD context. Members that schema.org lacks, or uses in another sense, are terms of our own vocabulary. A status
and a type are terms, too, not texts or paths."""
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
    """Return the document of an execution as a schema.org Action in JSON-LD."""
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
        "result": _result(document.get("result")),
        "startTime": metrics.get("startedAt"),
        "endTime": metrics.get("completedAt"),
        "error": error and {"@type": "Thing", "name": error["code"], **error},
    }
    return {name: value for name, value in shown.items() if value is not None}


def _name(kind: str, identity: str) -> str:
    return f"{NAMES}{kind}:{quote(identity, safe='')}"


def _thing(kind: str, related: Any, schema_type: str | None) -> dict[str, Any]:
    """Return a related object, which is given by its id or, if the client had it expanded, as a document."""
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
    """Return an assignee as an agent. Its `id` and `type` are left out, because the context of schema.org defines these
    as aliases of `@id` and `@type`.
    """
    members = {name: value for name, value in assignee.items() if name not in ("id", "type")}
    kind, identity = assignee["type"], assignee["id"]
    return {
        "@type": AGENT_TYPE[kind],
        "@id": _name("agent", identity),
        "additionalType": kind,
        "identifier": identity,
        **members,
    }


def _result(result: Any) -> Any:
    """Return a result with its output as a JSON literal, so that no member of the output is read as a term."""
    if not (isinstance(result, dict) and isinstance(result["output"], dict | list)):
        return result
    return {**result, "output": {"@type": "@json", "@value": result["output"]}}
