"""The webhooks of an execution as events set them, and which events they are owed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from domain.execution.events import ExecutionCreated, ExecutionFailed, ExecutionUpdated
from domain.execution.types import Webhook
from domain.execution.webhook_events import matches
from domain.model import Recorded, aggregate_id

IMPORTED = timedelta(days=1)
"""An event recorded so long after it happened was imported: it is history, and nobody is called."""


class Hook(NamedTuple):
    """A row of `webhooks`, in its order.

    `version` is that of the event that set it: there its URL and its headers are. `endpoint` is scheme,
    host and port of the URL.
    """

    execution: str
    webhook: str
    version: int
    endpoint: str
    events: tuple[str, ...]


class Delivery(NamedTuple):
    """An event that a webhook is owed; a row of `deliveries`, in its order."""

    execution: str
    webhook: str
    position: int
    version: int


def hooks_after(hooks: tuple[Hook, ...], recorded: Recorded) -> tuple[Hook, ...]:
    """The webhooks after an event: others where it sets them, else the same."""
    event = recorded.event
    if isinstance(event, ExecutionCreated) or (
        isinstance(event, ExecutionUpdated) and "webhooks" in event.model_fields_set
    ):
        return tuple(_hooks(recorded, event.webhooks))
    return hooks


def owed(hooks: Iterable[Hook], recorded: Recorded) -> list[Delivery]:
    """What an event owes to the webhooks there are after it."""
    if recorded.at - recorded.when > IMPORTED:
        return []
    event = recorded.event
    final = event.final if isinstance(event, ExecutionFailed) else True
    return [
        Delivery(hook.execution, hook.webhook, recorded.position, recorded.version)
        for hook in hooks
        if matches(hook.events, event.type, final=final)
    ]


def _hooks(recorded: Recorded, webhooks: Iterable[Webhook]) -> Iterable[Hook]:
    execution = aggregate_id(recorded.stream)
    for hook in webhooks:
        yield Hook(execution, hook.id, recorded.version, endpoint(hook.url), hook.events)


def endpoint(url: str) -> str:
    """Scheme, host and port of a URL, without what may be secret in it; empty where it is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets around what is no address: the call will say so
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()
