"""The webhooks of commands: checks their URLs before a command, and shows their secrets in its answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.eventlog.store import Store
from domain.execution.webhook import WebhookPlan
from domain.model import Command
from domain.writer.command_bus import Answer
from domain.writer.message import Message
from projections.deliveries.secrets import format_secret, signing_secret
from workers.outbound.addresses import networks
from workers.webhooks.http_client import HttpClient
from workers.webhooks.vetting import Vetting


def plans_of(command: Command[Any]) -> tuple[WebhookPlan, ...]:
    """The webhooks in a command to an execution."""
    return getattr(command, "webhooks", None) or ()


class WebhookParts(NamedTuple):
    """The parts of a server that accept webhooks, and that call one to test it."""

    plans: WebhookPlans
    client: HttpClient

    @classmethod
    def of(cls, allowed: str, store: Store) -> WebhookParts:
        """Make the parts for a store. `allowed` is the setting of the private networks that webhooks may call."""
        reachable = networks(allowed)
        return cls(WebhookPlans(Vetting(reachable), store), HttpClient(reachable))


class WebhookPlans:
    """Checks the webhooks of commands."""

    def __init__(self, vetting: Vetting, store: Store) -> None:
        self.vetting = vetting
        self._store = store

    async def require(self, command: Command[Any]) -> None:
        """Check that the webhooks of a command may be called.

        Raises:
            Invalid: a webhook may not be called; names its index in the command.
        """
        plans = enumerate(plans_of(command))
        await self.vetting.require((f"webhooks.{index}.url", plan.url) for index, plan in plans)

    async def secrets(self, message: Message, answer: Answer) -> dict[str, dict[str, str]]:
        """The `secret` of each webhook that a command has made, by id. Secrets are derived from the data key of the
        execution, so a repeated answer (Idempotency-Key) has them, too.
        """
        plans, hooks = plans_of(message.command), answer.versioned.state.webhooks
        if len(plans) != len(hooks):
            return {}
        made = [hook.id for plan, hook in zip(plans, hooks, strict=True) if plan.id is None]
        stream = f"execution/{answer.versioned.state.id}"
        key = (await self._store.keys([stream]))[stream] if made else None
        if key is None:
            return {}
        return {hook: {"secret": format_secret(signing_secret(key, hook))} for hook in made}
