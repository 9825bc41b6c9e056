"""The webhooks among the settings of an execution."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from domain.errors import Invalid
from domain.execution.webhook import Webhook, WebhookPlan


def webhooks_from(
    plans: Iterable[WebhookPlan], before: Iterable[Webhook], new_id: Callable[[str], str]
) -> tuple[Webhook, ...]:
    """Make the webhooks that a client has sent, in the same order. New ones get an id.

    Raises:
        Invalid: an id is not that of an existing webhook, or is used twice; or there is no value that `***` could keep.
    """
    existing = {hook.id: hook for hook in before}
    hooks = []
    for index, plan in enumerate(plans):
        path = f"webhooks.{index}"
        if plan.id is None:
            hooks.append(plan.to_webhook(new_id("wh"), None, path))
        elif plan.id in existing:
            hooks.append(plan.to_webhook(plan.id, existing.pop(plan.id), path))
        else:
            raise Invalid.field(
                f"{path}.id",
                f"must be the id of a webhook of this execution, or left out for a new one, "
                f"but is `{plan.id}`",
            )
    return tuple(hooks)
