"""The webhooks that an execution keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from domain.errors import Invalid
from domain.execution.webhook import Webhook, WebhookPlan


def webhooks_from(
    plans: Iterable[WebhookPlan], before: Iterable[Webhook], new_id: Callable[[str], str]
) -> tuple[Webhook, ...]:
    """The webhooks that a client asked for, in that order; new ones get an id of their own.

    Raises:
        Invalid: an id is not that of a webhook before, or there twice; or `***` stands for nothing.
    """
    known = {hook.id: hook for hook in before}
    hooks = []
    for index, plan in enumerate(plans):
        path = f"webhooks.{index}"
        if plan.id is None:
            hooks.append(plan.to_webhook(new_id("wh"), None, path))
        elif plan.id in known:
            hooks.append(plan.to_webhook(plan.id, known.pop(plan.id), path))
        else:
            raise Invalid.field(
                f"{path}.id",
                f"must be the id of a webhook of this execution, or left out for a new one, "
                f"but is `{plan.id}`",
            )
    return tuple(hooks)
