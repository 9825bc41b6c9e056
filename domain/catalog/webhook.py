"""A webhook of the whole log, from its creation on; and what became of a webhook of an execution.

An execution keeps its own webhooks among its settings. What happens to one of them beyond that, such as a
new secret, is in a stream named for it, which begins with the first such event.
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
"""Why a webhook is not called any more: it answered 410, it failed for days, or a client asked for it."""


@dataclass(frozen=True)
class Hook(Aggregate):
    """One webhook. `settings` are those of a webhook of the whole log; one of an `execution` has its
    settings there. `after` is the position after which events are owed to it, None: its creation. `scope` is
    what its maker could see when it was made, as a filter; None: everything.
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
    """How often its secret was rotated."""
    overlap_until: datetime | None = None
    """Until then calls are signed with the secret before this one, too."""

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """Those of the execution that it belongs to."""
        return self.customer, self.provider

    @property
    def maker(self) -> str | None:
        """Who made it; None for one of an execution, which is for its parties."""
        return self.made_by

    @property
    def stays_disabled(self) -> bool:
        """Whether it is known to be disabled. One of an execution is called again when that sets it anew,
        which its own stream does not say.
        """
        return self.disabled is not None and self.execution is None


class HookEvent(Event):
    """Something that happened to a webhook. Where it begins a stream, it says whose webhook that is."""

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
    """All settings of the webhook from now on."""

    url: str
    full_url: Secret[str] | None = None
    events: tuple[str, ...]
    headers: dict[str, Secret[str]] | None = None
    format: Format = "json"
    filter: dict[str, Any] | None = None

    def settings(self, webhook: str) -> Webhook:
        """The webhook with this id and these settings."""
        names = self.model_fields_set & Webhook.model_fields.keys()
        members = {name: getattr(self, name) for name in names}
        return Webhook.model_construct(_fields_set={"id", *names}, id=webhook, **members)

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"settings": self.settings(hook.id), "filter": self.filter, "disabled": None}


class WebhookCreated(WebhookSettings):
    """A webhook for all events that its maker may see."""

    type: ClassVar[str] = "webhook.created"
    after: int | None = None
    scope: dict[str, Any] | None = None

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {**super().changes(hook), "after": self.after, "scope": self.scope}


class WebhookUpdated(WebhookSettings):
    """Its settings have changed. A webhook that was disabled is called again."""

    type: ClassVar[str] = "webhook.updated"


class WebhookRemoved(HookEvent):
    """It is called no more, and its name is not used again."""

    type: ClassVar[str] = "webhook.removed"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"removed": True}


class WebhookFailing(HookEvent):
    """Its calls have failed more than once, since a time."""

    type: ClassVar[str] = "webhook.failing"
    since: Time
    status: int | None = None

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"failing_since": self.since}


class WebhookRecovered(HookEvent):
    """It takes events again."""

    type: ClassVar[str] = "webhook.recovered"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"failing_since": None}


class WebhookDisabled(HookEvent):
    """It is not called any more, until it is enabled, or its settings change."""

    type: ClassVar[str] = "webhook.disabled"
    reason: Reason

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"disabled": self.reason, "failing_since": None}


class WebhookEnabled(HookEvent):
    """It is called again, with what happens from now on."""

    type: ClassVar[str] = "webhook.enabled"

    def changes(self, hook: Hook) -> dict[str, Any]:
        return {"disabled": None}


class WebhookSecretRotated(HookEvent):
    """It has a new secret; the one before signs beside it for a while."""

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
