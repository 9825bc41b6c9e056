"""The streams of webhooks: of those of the whole log, and of those of executions.

The settings of the webhooks of an execution are in the stream of the execution. Other events of such a webhook, such as a new
secret, are in a stream of its own, which begins with the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from domain.execution.webhook import Format, Webhook
from domain.json_forms import Time
from domain.model import Aggregate, Event, Recorded, aggregate_id
from domain.sealing import Secret

Reason = Literal["gone", "failing", "asked"]
"""Why a webhook was disabled: it answered 410, its calls failed for days, or a client disabled it."""


@dataclass(frozen=True)
class Hook(Aggregate):
    """A webhook of the whole log, or of an execution.

    `settings`: those of a webhook of the whole log; a webhook of an `execution` has its settings there. `after`: the position
    after which events are delivered, None for its creation. `scope`: a filter of what its maker could see when it was made,
    None for everything.
    """

    execution: str | None = None
    customer: str | None = None
    provider: str | None = None
    made_by: str | None = None
    settings: Webhook | None = None
    scope: Mapping[str, Any] | None = None
    filter: Mapping[str, Any] | None = None
    after: int | None = None
    removed: bool = False
    disabled: Reason | None = None
    failing_since: datetime | None = None
    generation: int = 0
    """The number of rotations of its secret."""
    overlap_until: datetime | None = None
    """Until then calls are also signed with the former secret."""

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer and the provider of its execution; neither for a webhook of the whole log."""
        return self.customer, self.provider

    @property
    def maker(self) -> str | None:
        """The actor that made it; None for a webhook of an execution, which belongs to the parties."""
        return self.made_by

    @property
    def stays_disabled(self) -> bool:
        """Whether it is certainly disabled: only webhooks of the whole log are. A webhook of an execution is called again when
        the execution is updated with it, which the stream of the webhook does not show.
        """
        return self.disabled is not None and self.execution is None


class HookEvent(Event):
    """An event of a webhook. The first event in the stream of a webhook of an execution names the execution and its parties."""

    execution: str | None = None
    customer: str | None = None
    provider: str | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider

    def apply(self, state: Hook | None, recorded: Recorded) -> Hook:
        if state is None:
            identity = aggregate_id(recorded.stream)
            made_by = recorded.by if self.execution is None else None
            state = Hook(identity, self.execution, self.customer, self.provider, made_by)
        return state.evolve(**self.changes(state))

    def changes(self, hook: Hook) -> dict[str, Any]:
        """The fields that change, with their new values."""
        raise NotImplementedError


class WebhookSettings(HookEvent):
    """An event with all settings of the webhook."""

    url: str
    full_url: Secret[str] | None = None
    events: tuple[str, ...]
    headers: dict[str, Secret[str]] | None = None
    format: Format = "json"
    filter: dict[str, Any] | None = None

    def settings(self, webhook: str) -> Webhook:
        """The settings as a webhook with this id."""
        names = self.model_fields_set & Webhook.model_fields.keys()
        members = {name: getattr(self, name) for name in names}
        return Webhook.model_construct(_fields_set={"id", *names}, id=webhook, **members)

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"settings": self.settings(hook.id), "filter": self.filter, "disabled": None}


class WebhookCreated(WebhookSettings):
    """A webhook of the whole log was created; it gets events that its maker may see."""

    type: ClassVar[str] = "webhook.created"
    after: int | None = None
    scope: dict[str, Any] | None = None

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {**super().changes(hook), "after": self.after, "scope": self.scope}


class WebhookUpdated(WebhookSettings):
    """The settings of the webhook were changed. A disabled webhook is called again."""

    type: ClassVar[str] = "webhook.updated"


class WebhookRemoved(HookEvent):
    """The webhook was removed: it is not called any more, and its id is not used again."""

    type: ClassVar[str] = "webhook.removed"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"removed": True}


class WebhookFailing(HookEvent):
    """The calls of the webhook have failed more than once, since a time."""

    type: ClassVar[str] = "webhook.failing"
    since: Time
    status: int | None = None

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"failing_since": self.since}


class WebhookRecovered(HookEvent):
    """The webhook accepts events again."""

    type: ClassVar[str] = "webhook.recovered"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"failing_since": None}


class WebhookDisabled(HookEvent):
    """The webhook was disabled: it is not called until it is enabled, or its settings change."""

    type: ClassVar[str] = "webhook.disabled"
    reason: Reason

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"disabled": self.reason, "failing_since": None}


class WebhookEnabled(HookEvent):
    """The webhook was enabled: it is called with events from now on."""

    type: ClassVar[str] = "webhook.enabled"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"disabled": None}


class WebhookSecretRotated(HookEvent):
    """The webhook has a new secret. Until `overlapUntil`, calls are also signed with the former one."""

    type: ClassVar[str] = "webhook.secret.rotated"
    generation: int = Field(ge=1)
    overlap_until: Time

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"generation": self.generation, "overlap_until": self.overlap_until}


EVENTS: tuple[type[Event], ...] = (
    WebhookCreated,
    WebhookUpdated,
    WebhookRemoved,
    WebhookFailing,
    WebhookRecovered,
    WebhookDisabled,
    WebhookEnabled,
    WebhookSecretRotated,
)
