"""The table of webhooks, as events set them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from domain.catalog.webhook import (
    WebhookCreated,
    WebhookDisabled,
    WebhookEnabled,
    WebhookSecretRotated,
    WebhookSettings,
)
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionErased
from domain.execution.webhook_url import endpoint
from domain.model import Recorded, aggregate_id

OLD_ID = "wh-"
"""So began the ids of webhooks that were unique in their execution alone."""


class HookRow(NamedTuple):
    """A row of `webhooks`, in its order. One of the whole log has a `maker`, and what that could see is its
    `scope`.

    `webhook` is unique in the log. `stream` and `version` are those of the event that set it: there its
    URL and its headers are; `position` is that event's. Events after `since` are owed to it.
    """

    webhook: str
    execution: str | None
    stream: str
    version: int
    position: int
    since: int
    endpoint: str
    events: list[str]
    filter: str | None
    scope: str | None = None
    maker: str | None = None


class HookState(NamedTuple):
    """A row of `webhook_states`, in its order: what else became of a webhook.

    `disabled_at` is a position: a webhook that was set after it is called again.
    """

    webhook: str
    disabled_at: int | None
    generation: int
    overlap_until: datetime | None


def key_of(execution: str, webhook: str) -> str:
    """What a webhook of an execution is called in the whole log."""
    return f"{execution}/{webhook}" if webhook.startswith(OLD_ID) else webhook


def id_of(key: str) -> str:
    """The id of a webhook, without the execution that older ones need beside it."""
    return key.rpartition("/")[2]


def webhooks_of_execution(recorded: Recorded) -> list[HookRow] | None:
    """The webhooks that an execution has after an event; None where the event leaves them as they are."""
    event = recorded.event
    if isinstance(event, ExecutionErased):
        return []  # what they are called with is gone, and so are their secrets
    if isinstance(event, ExecutionCreated) or (
        isinstance(event, ExecutionUpdated) and "webhooks" in event.model_fields_set
    ):
        return list(_of_execution(recorded, event))
    return None


def webhook_of_log(recorded: Recorded) -> HookRow | None:
    """The webhook of the whole log that an event makes or changes; None where it does neither."""
    event, position = recorded.event, recorded.position
    if not isinstance(event, WebhookSettings):
        return None
    after = scope = maker = None
    if isinstance(event, WebhookCreated):
        after, scope, maker = event.after, event.scope, recorded.by
    return HookRow(
        aggregate_id(recorded.stream),
        None,
        recorded.stream,
        recorded.version,
        position,
        position if after is None else after,
        endpoint(event.url),
        list(event.events),
        _json(event.filter),
        _json(scope),
        maker,
    )


def _json(wanted: Mapping[str, Any] | None) -> str | None:
    return None if wanted is None else orjson.dumps(wanted).decode()


def state_after(state: HookState, recorded: Recorded) -> HookState:
    """What became of a webhook by an event of its own."""
    match recorded.event:
        case WebhookDisabled():
            return state._replace(disabled_at=recorded.position)
        case WebhookEnabled() | WebhookSettings():
            return state._replace(disabled_at=None)
        case WebhookSecretRotated() as event:
            return state._replace(generation=event.generation, overlap_until=event.overlap_until)
    return state


def _of_execution(
    recorded: Recorded, event: ExecutionCreated | ExecutionUpdated
) -> Iterator[HookRow]:
    execution = aggregate_id(recorded.stream)
    for hook in event.webhooks:
        yield HookRow(
            key_of(execution, hook.id),
            execution,
            recorded.stream,
            recorded.version,
            recorded.position,
            recorded.position - 1,  # the event that sets it is owed to it, too
            endpoint(hook.url),
            list(hook.events),
            None,
        )
