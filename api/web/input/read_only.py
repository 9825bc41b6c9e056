"""Checks the read-only members of a document that a client has read, changed and sent back: they must be unchanged."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from domain.errors import ReadOnly
from domain.execution.commands.update import UpdateExecution
from domain.execution.state import Execution
from domain.execution.types import SERVER_OWNED
from domain.json_equality import same_json
from domain.model import Value, Versioned
from projections.representations.client_json import plain_json
from projections.representations.execution import document
from projections.representations.execution_schema import ServiceExecution

RELATIONS = frozenset({"order", "service", "workflow", "customer", "provider"})
COUNTING = frozenset({"duration", "activeDuration"})
"""Members of `metrics` that grow while an execution has not ended."""
BESIDE = frozenset({"secret", "health"})
"""Members of an existing webhook that clients cannot set."""
UNCHECKED = frozenset({"$context", "logs", "logsTotal", "lastHeartbeatAt"})
"""Members that are shown in a document and are no part of its version."""


def _names(model: type[Value]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


OWNED = (_names(ServiceExecution) | UNCHECKED) - _names(UpdateExecution)
MESSAGE = "is set by the server and differs from what it is now; leave it out, or read it again"


def is_read_before(given: dict[str, Any]) -> bool:
    """Whether a body has read-only members, so that it was probably read before."""
    metadata = given.get("metadata")
    return not OWNED.isdisjoint(given) or (
        isinstance(metadata, dict) and not SERVER_OWNED.isdisjoint(metadata)
    )


def without_shown(webhooks: Any) -> Any:
    """Webhooks of a body without the members that only answers have: the secret and the health."""
    if not isinstance(webhooks, list):
        return webhooks
    return [
        {name: value for name, value in hook.items() if name not in BESIDE}
        if isinstance(hook, dict) and "id" in hook
        else hook
        for hook in webhooks
    ]


def without_unchanged(
    given: dict[str, Any], versioned: Versioned[Execution], now: datetime
) -> dict[str, Any]:
    """The members of `given` that differ from the shown document.

    Raises:
        ReadOnly: a read-only member differs.
    """
    shown: dict[str, Any] = orjson.loads(plain_json(document(versioned, now)))
    changed = {
        name: value
        for name, value in given.items()
        if name not in UNCHECKED and not _is_shown(name, value, shown, versioned.state)
    }
    wrong = [name for name in changed if name in OWNED]
    if isinstance(metadata := changed.get("metadata"), dict):
        times = SERVER_OWNED & metadata.keys()
        differ = [
            name for name in times if not same_json(metadata[name], shown["metadata"].get(name))
        ]
        wrong += [f"metadata.{name}" for name in sorted(differ)]
        changed["metadata"] = {n: value for n, value in metadata.items() if n not in times}
    if wrong:
        raise ReadOnly(errors=[{"path": name, "message": MESSAGE} for name in wrong])
    return changed


def _without_counting(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in COUNTING}


def _is_shown(name: str, value: Any, shown: dict[str, Any], state: Execution) -> bool:
    if name in RELATIONS and isinstance(value, dict):
        value = value.get("$id")
    before = shown.get(name)
    if name == "metrics" and not state.final and isinstance(value, dict):
        value, before = _without_counting(value), _without_counting(shown[name])
    if name == "claimedBy" and isinstance(value, dict) and isinstance(before, dict):
        # The end of the lease changes with each heartbeat.
        value, before = value.get("worker"), before.get("worker")
    return same_json(value, before)
