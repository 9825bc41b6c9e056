"""The webhooks that an execution keeps."""

from __future__ import annotations

from collections.abc import Iterable

from domain.errors import Invalid
from domain.execution.types import (
    Webhook,
    WebhookPlan,
    webhook_id,
)


def webhooks_from(
    plans: Iterable[WebhookPlan], before: Iterable[Webhook], made: int
) -> tuple[Webhook, ...]:
    """The webhooks that a client asked for; new ones are numbered on from `made`.

    Raises:
        Invalid: an id is not that of a webhook before, or there twice.
    """
    known = {hook.id: hook for hook in before}
    hooks = []
    for place, plan in enumerate(plans):
        if plan.id is None:
            made += 1
            hooks.append(plan.kept_as(webhook_id(made), None))
        elif plan.id in known:
            hooks.append(plan.kept_as(plan.id, known.pop(plan.id)))
        else:
            raise Invalid.field(
                f"webhooks.{place}.id",
                f"must be the id of a webhook of this execution, or left out for a new one, "
                f"but is `{plan.id}`",
            )
    return tuple(hooks)
