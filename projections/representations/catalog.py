"""The JSON of services, workflows, orders, users, jobs, legal holds, grants, API keys and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from domain.access.grant import Grant
from domain.access.key import Key
from domain.catalog.order import Order
from domain.catalog.service import Service
from domain.catalog.user import User
from domain.catalog.webhook import Hook
from domain.catalog.workflow import Workflow
from domain.jobs.job import Job
from domain.json_forms import format_time
from domain.model import Versioned
from domain.retention.hold import Hold
from projections.representations.values import stop_document, webhook_document


def document(versioned: Versioned[Any]) -> dict[str, Any]:
    """Return a state of any kind in `DOCUMENTS` as clients see it.

    Raises:
        LookupError: the state is of another kind.
    """
    return DOCUMENTS[type(versioned.state)](versioned)


def order_document(versioned: Versioned[Order]) -> dict[str, Any]:
    """Return an order as clients see it."""
    order = versioned.state
    members = {
        "$type": "ServiceOrder",
        "$id": order.id,
        "service": order.service,
        "customer": order.customer,
        "params": order.params,
        "priority": order.priority,
        "status": order.status,
        "execution": order.execution,
        "cancellation": order.cancellation and stop_document(order.cancellation),
    }
    shown = _with_place(versioned, members)
    return shown if order.erasure is None else _without_content(shown)


def _without_content(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the document of an erased order: sealed content is null, whether or not it was opened."""
    closed: dict[str, Any] = {"params": None} if "params" in shown else {}
    if "reason" in (cancellation := shown.get("cancellation", {})):
        closed["cancellation"] = {**cancellation, "reason": None}
    return {**shown, **closed, "erased": True}


def service_document(versioned: Versioned[Service]) -> dict[str, Any]:
    """Return a service as clients see it."""
    service = versioned.state
    members = {
        "$type": "Service",
        "$id": service.id,
        "name": service.name,
        "provider": service.provider,
        "workflow": service.workflow,
        "description": service.description,
    }
    return _with_place(versioned, members)


def user_document(versioned: Versioned[User]) -> dict[str, Any]:
    """Return a user as clients see it."""
    user = versioned.state
    members = {
        "$type": "User",
        "$id": user.id,
        "name": user.name,
        "kind": user.kind,
    }
    return _with_place(versioned, members)


def hook_document(versioned: Versioned[Hook]) -> dict[str, Any]:
    """Return a webhook as clients see it, without secrets. The settings of an execution's webhook are in the execution."""
    hook = versioned.state
    settings = {} if hook.settings is None else webhook_document(hook.settings)
    members = {
        "$type": "Webhook",
        "$id": hook.id,
        "execution": hook.execution,
        **{name: value for name, value in settings.items() if name != "id"},
        "filter": hook.filter,
        "createdBy": hook.made_by,
        "scope": hook.scope,
        "status": "removed" if hook.removed else "disabled" if hook.disabled else "active",
        "disabledBecause": hook.disabled,
        "failingSince": hook.failing_since and format_time(hook.failing_since),
        "secretOverlapUntil": hook.overlap_until and format_time(hook.overlap_until),
    }
    return _with_place(versioned, members)


def workflow_document(versioned: Versioned[Workflow]) -> dict[str, Any]:
    """Return a workflow as clients see it."""
    workflow = versioned.state
    members = {
        "$type": "BusinessWorkflow",
        "$id": workflow.id,
        "name": workflow.name,
        "steps": [
            step.model_dump(mode="json", by_alias=True, exclude_none=True)
            for step in workflow.steps
        ],
    }
    return _with_place(versioned, members)


def job_document(versioned: Versioned[Job]) -> dict[str, Any]:
    """Return a job as clients see it, with its first refusals."""
    job = versioned.state
    members = {
        "$type": "Job",
        "$id": job.id,
        "command": job.command,
        "filter": job.filter,
        "scope": job.scope,
        "reason": job.reason,
        "status": job.status,
        "error": job.error,
        "matching": job.matching,
        "done": job.done,
        "refused": job.refused,
        "refusals": [refusal.model_dump(exclude_defaults=True) for refusal in job.refusals],
        "createdBy": job.created_by,
        "createdAt": format_time(job.created_at),
        "updatedAt": format_time(job.updated_at),
    }
    return _with_place(versioned, members)


def hold_document(versioned: Versioned[Hold]) -> dict[str, Any]:
    """Return a legal hold as clients see it."""
    hold, release = versioned.state, versioned.state.release
    members = {
        "$type": "LegalHold",
        "$id": hold.id,
        "status": hold.status,
        "executions": list(hold.executions) or None,
        "order": hold.order,
        "service": hold.service,
        "customer": hold.customer,
        "reason": hold.reason,
        "by": hold.by,
        "at": format_time(hold.at),
        "release": release
        and {"reason": release.reason, "by": release.by, "at": format_time(release.at)},
    }
    return _with_place(versioned, members)


def grant_document(versioned: Versioned[Grant]) -> dict[str, Any]:
    """Return a grant as clients see it, except that `at_time` must still mark it if it has expired."""
    grant, revocation = versioned.state, versioned.state.revocation
    members = {
        "$type": "Grant",
        "$id": grant.id,
        "status": "active" if revocation is None else "revoked",
        "auditor": grant.auditor,
        "executions": list(grant.executions) or None,
        "order": grant.order,
        "service": grant.service,
        "filter": grant.filter,
        "within": grant.within,
        "purpose": grant.purpose,
        "expiresAt": format_time(grant.expires_at),
        "by": grant.by,
        "at": format_time(grant.at),
        "revocation": revocation and {"by": revocation.by, "at": format_time(revocation.at)},
    }
    return _with_place(versioned, members)


def key_document(versioned: Versioned[Key]) -> dict[str, Any]:
    """Return an API key as clients see it: its party and rights, but neither token nor fingerprint. `at_time` must still
    mark it if it has expired.
    """
    key, revocation = versioned.state, versioned.state.revocation
    members = {
        "$type": "ApiKey",
        "$id": key.id,
        "role": key.role,
        "party": key.party,
        "customer": key.customer,
        "provider": key.provider,
        "name": key.name,
        "rights": key.rights and list(key.rights),
        "status": key.status,
        "expiresAt": key.expires_at and format_time(key.expires_at),
        "createdBy": key.by,
        "createdAt": format_time(key.at),
        "revocation": revocation and {"by": revocation.by, "at": format_time(revocation.at)},
    }
    return _with_place(versioned, members)


def at_time(shown: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a grant or a key with the status `expired` if it is active and its `expiresAt` is not after `now`."""
    passed = "expiresAt" in shown and shown["expiresAt"] <= format_time(now)
    return {**shown, "status": "expired"} if passed and shown["status"] == "active" else shown


def _with_place(versioned: Versioned[Any], members: dict[str, Any]) -> dict[str, Any]:
    """Return the members that are not None, with the version and position of the state."""
    shown = {name: value for name, value in members.items() if value is not None}
    return {**shown, "version": versioned.version, "position": versioned.position}


DOCUMENTS: Mapping[type[Any], Callable[[Versioned[Any]], dict[str, Any]]] = {
    Service: service_document,
    Workflow: workflow_document,
    Order: order_document,
    User: user_document,
    Job: job_document,
    Hold: hold_document,
    Grant: grant_document,
    Hook: hook_document,
    Key: key_document,
}
