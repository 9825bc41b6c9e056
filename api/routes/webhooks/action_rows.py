"""The operations that are actions on webhooks."""

from __future__ import annotations

from typing import Any

from api.access.rights import Right
from api.documents import schemas
from api.routes.webhooks.actions import WebhookActions
from api.routes.webhooks.schemas import (
    DELIVERY,
    REDELIVERED,
    REWOUND,
    TESTED,
    WEBHOOK,
    RedeliverFailed,
    RewindWebhook,
)
from api.web import responses
from api.web.operation import Handler, Operation, Parameter
from api.web.parameters import CURSOR, FRESH, LIMIT
from domain.catalog.webhook_commands import DisableWebhook, EnableWebhook, RotateSecret
from domain.model import Value
from projections.deliveries.requests import STATES

PATH = "/webhooks/{webhook}"
REFUSALS = ("not-found", "illegal-transition")
"""The problems of operations that call a webhook: there is no such webhook, or it is disabled."""
STATE = Parameter("state", "Only deliveries in this state", {"enum": list(STATES)})


def routes(actions: WebhookActions) -> tuple[Operation, ...]:
    """The operations that are actions on webhooks."""
    return (*_commands(actions), *_reads(actions), *_redelivery_rows(actions))


def _commands(actions: WebhookActions) -> tuple[Operation, ...]:
    rotate, disable, enable = actions.rotate, actions.disable, actions.enable
    rows = (
        (
            "rotateSecret",
            "rotate",
            "Rotate the secret of a webhook; the new one is shown this once",
            RotateSecret,
            rotate,
        ),
        ("disableWebhook", "disable", "Disable a webhook", DisableWebhook, disable),
        ("enableWebhook", "enable", "Enable a webhook", EnableWebhook, enable),
    )
    return tuple(
        Operation(
            name,
            "POST",
            f"{PATH}/{word}",
            Right.MANAGE_WEBHOOKS,
            summary,
            handler,
            body=command,
            answer=WEBHOOK,
            problems=("not-found",),
            sends=(*responses.DONE, "Location"),
        )
        for name, word, summary, command, handler in rows
    )


def _redelivery_rows(actions: WebhookActions) -> tuple[Operation, ...]:
    one, failed, rewind = actions.redeliver, actions.redeliver_failed, actions.rewind
    of_one = "/deliveries/{position}/redeliver"
    since, after = "the events given up since a time", "all events after a position"
    rows: tuple[tuple[str, str, str, Handler, type[Value] | None, dict[str, Any]], ...] = (
        ("redeliver", of_one, "the event at a position", one, None, REDELIVERED),
        ("redeliverFailed", "/redeliver", since, failed, RedeliverFailed, REDELIVERED),
        ("rewindWebhook", "/rewind", after, rewind, RewindWebhook, REWOUND),
    )
    return tuple(
        Operation(
            name,
            "POST",
            f"{PATH}{path}",
            Right.MANAGE_WEBHOOKS,
            f"Send {what} again",
            handler,
            body=body,
            answer=answer,
            status=202,
            problems=REFUSALS,
        )
        for name, path, what, handler, body, answer in rows
    )


def _reads(actions: WebhookActions) -> tuple[Operation, ...]:
    return (
        Operation(
            "testWebhook",
            "POST",
            f"{PATH}/test",
            Right.MANAGE_WEBHOOKS,
            "Call a webhook now with an event of the type `webhook.test`",
            actions.test,
            answer=TESTED,
            problems=("not-found",),
            long=True,
        ),
        Operation(
            "readDeliveries",
            "GET",
            f"{PATH}/deliveries",
            Right.MANAGE_WEBHOOKS,
            "The waiting and sent deliveries of a webhook, the newest first",
            actions.deliveries,
            answer=schemas.page_of(DELIVERY),
            sends=responses.AS_OF,
            parameters=(LIMIT, CURSOR, STATE, *FRESH),
            problems=("not-found",),
            content=True,
        ),
    )
