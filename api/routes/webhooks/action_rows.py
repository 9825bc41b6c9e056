"""The rows of what can be done to any webhook."""

from __future__ import annotations

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
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, LIMIT
from domain.catalog.webhook_commands import DisableWebhook, EnableWebhook, RotateSecret
from projections.deliveries.requests import STATES

PATH = "/webhooks/{webhook}"
STATE = Parameter("state", "Only those in this state", {"enum": list(STATES)})


def routes(actions: WebhookActions) -> tuple[Operation, ...]:
    """The rows."""
    return (*_commands(actions), *_deliveries(actions))


def _commands(actions: WebhookActions) -> tuple[Operation, ...]:
    rows = (
        (
            "rotateSecret",
            "rotate",
            "Give it a new secret, shown this once",
            RotateSecret,
            actions.rotate,
        ),
        ("disableWebhook", "disable", "Call it no more", DisableWebhook, actions.disable),
        ("enableWebhook", "enable", "Call it again", EnableWebhook, actions.enable),
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


def _deliveries(actions: WebhookActions) -> tuple[Operation, ...]:
    rows = (
        ("redeliver", "/deliveries/{position}/redeliver", "Send the event at a position again"),
        ("redeliverFailed", "/redeliver", "Send again what was given up since a time"),
        ("rewindWebhook", "/rewind", "Send again all that follows on a position"),
    )
    handlers = (actions.redeliver, actions.redeliver_failed, actions.rewind)
    bodies = (None, RedeliverFailed, RewindWebhook)
    answers = (REDELIVERED, REDELIVERED, REWOUND)
    again = tuple(
        Operation(
            name,
            "POST",
            f"{PATH}{path}",
            Right.MANAGE_WEBHOOKS,
            summary,
            handler,
            body=body,
            answer=answer,
            status=202,
            problems=("not-found",),
        )
        for (name, path, summary), handler, body, answer in zip(
            rows, handlers, bodies, answers, strict=True
        )
    )
    return (*_looks(actions), *again)


def _looks(actions: WebhookActions) -> tuple[Operation, ...]:
    return (
        Operation(
            "testWebhook",
            "POST",
            f"{PATH}/test",
            Right.MANAGE_WEBHOOKS,
            "Call it now with an event of the type `webhook.test`",
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
            "What it is owed and was sent, the newest first",
            actions.deliveries,
            answer=schemas.page_of(DELIVERY),
            parameters=(LIMIT, CURSOR, STATE),
            problems=("not-found",),
        ),
    )
