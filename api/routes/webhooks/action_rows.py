"""The routes of actions on webhooks."""

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
from api.web.parameters import CURSOR, LIMIT
from domain.catalog.webhook_commands import DisableWebhook, EnableWebhook, RotateSecret
from domain.model import Value
from projections.deliveries.requests import STATES

PATH = "/webhooks/{webhook}"
REFUSALS = ("not-found", "illegal-transition")
"""Of what has a webhook called: there is none, or it is disabled."""
STATE = Parameter("state", "Only those in this state", {"enum": list(STATES)})


def routes(actions: WebhookActions) -> tuple[Operation, ...]:
    """The rows."""
    return (*_commands(actions), *_reads(actions), *_redelivery_rows(actions))


def _commands(actions: WebhookActions) -> tuple[Operation, ...]:
    rotate, disable, enable = actions.rotate, actions.disable, actions.enable
    rows = (
        ("rotateSecret", "rotate", "Give it a new secret, shown this once", RotateSecret, rotate),
        ("disableWebhook", "disable", "Call it no more", DisableWebhook, disable),
        ("enableWebhook", "enable", "Call it again", EnableWebhook, enable),
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
    since, after = "what was given up since a time", "all that follows on a position"
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
            content=True,
        ),
    )
