"""The members of a new execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from service_executions.requests import CommandOptions, with_time
from service_executions.values import JSON, Assignee, Retry, Step, Webhook, body


class NewExecution(CommandOptions, total=False):
    """The optional members of a new execution, besides its order and service."""

    status: str
    """`queued`, or `running` to start it at once."""
    progress: float
    assignee: Assignee | Mapping[str, Any] | None
    steps: Sequence[Step | Mapping[str, Any]]
    steps_total: int
    """The expected number of steps, if not all are declared."""
    priority: str
    timeout: int | timedelta
    """The time that one attempt may take, in milliseconds."""
    retry_policy: Retry | Mapping[str, Any] | None
    webhooks: Sequence[Webhook | Mapping[str, Any]]
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    heartbeat_timeout: int | timedelta
    """The time without a sign of life after which a running execution counts as stalled, in milliseconds."""
    on_lease_lost: str
    """`restart` or `resume`: how the next worker begins after a lost lease."""


def creation(id: str, order: Any, service: Any, members: NewExecution) -> JSON:
    """Return the body of a creation."""
    optional: dict[str, Any] = {
        name: value for name, value in members.items() if name not in CommandOptions.__annotations__
    }
    if "steps_total" in optional:
        optional["metrics"] = {"stepsTotal": optional.pop("steps_total")}
    required = {"$id": id, "order": reference(order), "service": reference(service)}
    return with_time({**required, **body(**optional)}, members)


def reference(named: Any) -> str:
    """Return an id that is given as such, or as an object that has it."""
    return named if isinstance(named, str) else str(named.id)
