"""The JSON of parts that executions, steps and catalog entries share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from domain.execution.parts import Cancellation, Pause, Totals
from domain.execution.retry_policy import RetryPolicy
from domain.execution.types import ExecutionError
from domain.execution.webhook import Webhook
from domain.execution.webhook_url import mask
from domain.json_forms import format_time, in_milliseconds
from domain.sealing import MASKED
from domain.types import Assignee, plain_number

CURRENCY = "USD"


def policy_document(policy: RetryPolicy) -> dict[str, Any]:
    return {
        "maxRetries": policy.max_retries,
        "backoff": policy.backoff,
        "initialDelay": in_milliseconds(policy.initial_delay),
        "maxDelay": in_milliseconds(policy.max_delay),
        "jitter": policy.jitter,
    }


def error_document(error: ExecutionError) -> dict[str, Any]:
    shown: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.stack is not None:
        shown["stack"] = error.stack
    if error.step is not None:
        shown["step"] = error.step
    shown["recoverable"] = error.recoverable
    shown["retryCount"] = error.retry_count
    return shown


def assignee_document(assignee: Assignee) -> dict[str, Any]:
    shown = {"type": assignee.type, "id": assignee.id, "name": assignee.name}
    if assignee.model is not None:
        shown["model"] = assignee.model
    return shown


def stop_document(stop: Cancellation | Pause) -> dict[str, Any]:
    """Return a cancellation or a pause as clients see it; the reason is left out where there is none."""
    shown = {} if stop.reason is None else {"reason": stop.reason}
    return {**shown, "by": stop.by, "at": format_time(stop.at)}


def webhook_document(webhook: Webhook) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": webhook.id,
        "url": mask(webhook.url),
        "events": list(webhook.events),
    }
    if webhook.headers:
        shown["headers"] = dict.fromkeys(webhook.headers, MASKED)
    shown["format"] = webhook.format
    return shown


def shortest_number(number: float) -> float:
    return int(number) if number == int(number) else number


def milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else in_milliseconds(duration)


def totals_document(used: Totals) -> dict[str, Any]:
    return {
        "tokensUsed": used.tokens_used,
        "cost": plain_number(used.cost),
        "currency": CURRENCY,
        "apiCalls": used.api_calls,
    }
