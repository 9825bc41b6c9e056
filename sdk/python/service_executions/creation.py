"""What a new execution begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from service_executions.requests import CommandOptions, with_time
from service_executions.values import JSON, Assignee, Retry, Step, Webhook, body


class NewExecution(CommandOptions, total=False):
    """What may be said of a new execution, besides its order and its service."""

    status: str
    """`queued`, or `running` to be at work at once."""
    progress: float
    assignee: Assignee | Mapping[str, Any] | None
    steps: Sequence[Step | Mapping[str, Any]]
    steps_total: int
    """How many steps there will be, where not all are declared."""
    priority: str
    timeout: int | timedelta
    """For one attempt, in milliseconds."""
    retry_policy: Retry | Mapping[str, Any] | None
    webhooks: Sequence[Webhook | Mapping[str, Any]]
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    heartbeat_timeout: int | timedelta
    """Silence after which a running execution shows as stalled, in milliseconds."""
    on_lease_lost: str
    """`restart` or `resume`."""


def creation(id: str, order: Any, service: Any, members: NewExecution) -> JSON:
    """The body of a creation."""
    said: dict[str, Any] = {
        name: value for name, value in members.items() if name not in CommandOptions.__annotations__
    }
    if "steps_total" in said:
        said["metrics"] = {"stepsTotal": said.pop("steps_total")}
    named = {"$id": id, "order": reference(order), "service": reference(service)}
    return with_time({**named, **body(**said)}, members)


def reference(named: Any) -> str:
    """The id of something that is named by it, or by what was read of it."""
    return named if isinstance(named, str) else str(named.id)
