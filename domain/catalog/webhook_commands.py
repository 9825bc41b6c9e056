"""The commands to webhooks of the whole log and of executions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema

from domain.catalog.webhook import (
    Hook,
    Reason,
    WebhookCreated,
    WebhookDisabled,
    WebhookEnabled,
    WebhookFailing,
    WebhookRecovered,
    WebhookRemoved,
    WebhookSecretRotated,
    WebhookUpdated,
)
from domain.errors import IllegalTransition, NotFound, instead
from domain.execution.webhook import EventNames, Format, Headers, Url, Webhook, WebhookPlan
from domain.json_equality import same_json
from domain.json_forms import Milliseconds, Time
from domain.model import Command, Context, Creation, Event, Recordable, Versioned
from domain.types import JsonObject

Parties = tuple[str | None, str | None]
"""A customer and a provider."""
DAY = 86_400_000
"""Milliseconds of a day."""
OVERLAP = timedelta(hours=24)
"""For how long calls are signed with both secrets after a rotation, by default."""
BEGINS = {
    "description": "`start`, `now`, a position or a time",
    "anyOf": [
        {"type": "string", "maxLength": 40},
        {"type": "integer", "minimum": 0},
        {"type": "null"},
    ],
}
NEW = "new"
"""The id of a webhook that has none yet."""
MISSING = "There is no such webhook."


def beginning(value: object) -> str | None:
    """The member `from` as text; a position may be a number in JSON, too. Raises ValueError for other values."""
    if value is None or isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise ValueError(f"must be text, or a whole number{instead(value)}")


class CreateWebhook(Creation[Hook]):
    """Call a URL with the selected events that its maker may see, from now on, or `from` an earlier position or time.

    Raises:
        Invalid: the URL has `***`, or a header has the value `***`.
    """

    wire_name: ClassVar[str] = "createWebhook"

    url: Url
    events: EventNames = ("*",)
    headers: Headers | None = None
    format: Format | None = None
    filter: JsonObject | None = None
    begins: Annotated[
        str | None,
        BeforeValidator(beginning),
        Field(alias="from", max_length=40),
        WithJsonSchema(BEGINS),
    ] = None
    _scope: dict[str, Any] | None = PrivateAttr(None)

    def within(self, scope: dict[str, Any] | None) -> Self:
        """Set the filter of what the sender may see, None for everything; return the command."""
        self._scope = scope
        return self

    def create(self, context: Context) -> Iterator[Event]:
        plan = _plan(self.url, self.events, self.headers, self.format)
        members = _members(plan.to_webhook(NEW, None), self.filter)
        if self.begins is not None:
            members["after"] = int(self.begins)
        members |= {} if self._scope is None else {"scope": self._scope}
        yield WebhookCreated(**members)


class UpdateWebhook(Command[Hook]):
    """Change settings of a webhook of the whole log. Absent members stay, null clears a member. A disabled webhook is called
    again.

    Raises:
        NotFound: the webhook was removed.
        IllegalTransition: the webhook belongs to an execution.
    """

    wire_name: ClassVar[str] = "updateWebhook"
    null_clears: ClassVar[frozenset[str]] = frozenset({"headers", "format", "filter"})

    url: Url | None = None
    events: EventNames | None = None
    headers: Headers | None = None
    format: Format | None = None
    filter: JsonObject | None = None

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        before = _settings(hook)
        given = self.model_fields_set
        plan = _plan(
            before.url if self.url is None else self.url,
            before.events if self.events is None else self.events,
            self.headers if "headers" in given else _mask(before.headers),
            self.format if "format" in given else before.format,
        )
        settings = plan.to_webhook(hook.id, before)
        wanted = self.filter if "filter" in given else hook.filter
        changed = not same_json(settings, before) or not same_json(wanted, hook.filter)
        if changed or hook.disabled:
            yield WebhookUpdated(**_members(settings, wanted))


class RemoveWebhook(Command[Hook]):
    """Remove a webhook of the whole log, so that it is not called any more.

    Raises:
        NotFound: the webhook was removed.
        IllegalTransition: the webhook belongs to an execution.
    """

    wire_name: ClassVar[str] = "removeWebhook"

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        _settings(hook)
        yield WebhookRemoved()


class HookCommand(Command[Hook]):
    """A command to a webhook of the whole log, or of the execution that `of` sets.

    Raises:
        NotFound: there is no such webhook.
    """

    _execution: str | None = PrivateAttr(None)
    _parties: Parties | None = PrivateAttr(None)

    def of(self, execution: str | None, parties: Parties | None = None) -> Self:
        """A copy of the command for a webhook of an execution, or, with None, of the whole log. The command reads the parties of
        the execution, unless they are given.
        """
        copy = self.model_copy()
        copy._execution, copy._parties = execution, parties  # noqa: SLF001 - of its own class
        return copy

    def reads(
        self, state: Hook | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        needs_parties = self._execution is not None and self._parties is None
        return (f"execution/{self._execution}",) if needs_parties else ()

    def outcome(self, state: Hook | None, context: Context) -> list[Recordable]:
        owner: dict[str, Any] = {}
        if state is None and self._execution is not None:
            customer, provider = self._parties or self._read_parties(context)
            owner = {"execution": self._execution, "customer": customer, "provider": provider}
            state = Hook("", self._execution, customer, provider)
        if state is None or state.removed:
            raise NotFound(MISSING)
        events = list(self.decide(state, context))
        return [event.model_copy(update=owner) for event in events] if owner else [*events]

    def _read_parties(self, context: Context) -> Parties:
        execution = context.state(f"execution/{self._execution}")
        if execution is None:
            raise NotFound(MISSING)
        parties: Parties = execution.parties
        return parties

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        raise NotImplementedError


class DisableWebhook(HookCommand):
    """Disable a webhook, so that it is not called."""

    wire_name: ClassVar[str] = "disableWebhook"

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        if not hook.stays_disabled:
            yield WebhookDisabled(reason="asked")


class EndWebhook(HookCommand):
    """Disable a webhook, as its calls fail. Only the service sends this."""

    wire_name: ClassVar[str] = "endWebhook"

    reason: Reason

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        if not hook.stays_disabled:
            yield WebhookDisabled(reason=self.reason)


class EnableWebhook(HookCommand):
    """Enable a webhook, so that it is called again."""

    wire_name: ClassVar[str] = "enableWebhook"

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        if hook.disabled:
            yield WebhookEnabled()


class RotateSecret(HookCommand):
    """Give a webhook a new secret. For `overlap` milliseconds, calls are signed with both secrets."""

    wire_name: ClassVar[str] = "rotateSecret"

    overlap: Annotated[timedelta, Milliseconds(0, 7 * DAY)] = OVERLAP

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        until = context.now + self.overlap
        yield WebhookSecretRotated(generation=hook.generation + 1, overlap_until=until)


class ReportFailing(HookCommand):
    """Report that the calls of a webhook have failed since a time. Only the service sends this."""

    wire_name: ClassVar[str] = "reportFailing"

    since: Time
    status: int | None = None

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        if hook.failing_since is None and not hook.stays_disabled:
            answered: dict[str, Any] = {} if self.status is None else {"status": self.status}
            yield WebhookFailing(since=self.since, **answered)


class ReportRecovered(HookCommand):
    """Report that a webhook accepts events again. Only the service sends this."""

    wire_name: ClassVar[str] = "reportRecovered"

    def decide(self, hook: Hook, context: Context) -> Iterator[Event]:
        if hook.failing_since is not None:
            yield WebhookRecovered()


def _settings(hook: Hook) -> Webhook:
    """The settings of a webhook of the whole log. Raises NotFound, or IllegalTransition for a webhook of an execution."""
    if hook.removed:
        raise NotFound(MISSING)
    if hook.settings is None:
        raise IllegalTransition(
            f"This webhook belongs to the execution `{hook.execution}`, whose `webhooks` change it."
        )
    return hook.settings


def _plan(
    url: str, events: tuple[str, ...], headers: dict[str, str] | None, format_: Format | None
) -> WebhookPlan:
    """A plan without a check of its events, as the whole log has other events than executions have."""
    return WebhookPlan.model_construct(url=url, events=events, headers=headers, format=format_)


def _mask(headers: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if headers is None else dict.fromkeys(headers, "***")


def _members(settings: Webhook, wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """The members of an event with these settings, without those that were not set."""
    names = settings.model_fields_set - {"id"}
    members = {name: getattr(settings, name) for name in names}
    return {**members, "filter": wanted} if wanted is not None else members


COMMANDS: dict[str, type[Command[Hook]]] = {
    command.wire_name: command
    for command in (
        CreateWebhook,
        UpdateWebhook,
        RemoveWebhook,
        DisableWebhook,
        EnableWebhook,
        RotateSecret,
    )
}
