"""The JSON schemas of webhooks and their deliveries, and the models of actions on them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from domain.catalog.webhook_commands import beginning
from domain.json_forms import Time
from domain.model import Value
from projections.deliveries import requests
from projections.deliveries.health import STATES

TIME = {"type": "string", "format": "date-time"}
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
LAST: dict[str, Any] = {
    "lastAt": TIME,
    "lastStatus": {"type": "integer"},
    "lastLatency": COUNT,
    "lastAnswer": TEXT,
    "lastError": TEXT,
}
HEALTH: dict[str, Any] = {
    "type": "object",
    "description": "The state of the calls; `last…` is of the last call, its latency in milliseconds; "
    "`behind` is the number of past events that are still to be checked",
    "required": ["state", "waiting", "givenUp", "attempts"],
    "properties": {
        "state": {"enum": list(STATES)},
        "waiting": COUNT,
        "givenUp": COUNT,
        "attempts": COUNT,
        "behind": COUNT,
        "nextAt": TIME,
        "failingSince": TIME,
        **LAST,
    },
    "additionalProperties": False,
}
SETTINGS: dict[str, Any] = {
    "url": TEXT,
    "events": {"type": "array", "items": TEXT},
    "headers": {"type": "object", "additionalProperties": {"const": "***"}},
    "format": {"enum": ["json", "slack"]},
}
OF_EXECUTION: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "url", "events", "format"],
        "properties": {"id": TEXT, **SETTINGS, "health": HEALTH},
        "additionalProperties": False,
    },
}
WEBHOOK: dict[str, Any] = {
    "type": "object",
    "description": "A webhook of the whole log; for one of an `execution`, only its state",
    "required": ["$type", "$id", "status", "version", "position"],
    "properties": {
        "$type": {"const": "Webhook"},
        "$id": TEXT,
        "execution": TEXT,
        **SETTINGS,
        "filter": {"type": "object"},
        "createdBy": TEXT,
        "scope": {
            "type": "object",
            "description": "The events that its maker could see when the webhook was made; absent: all",
        },
        "status": {"enum": ["active", "disabled", "removed"]},
        "disabledBecause": {"enum": ["gone", "failing", "asked"]},
        "failingSince": TIME,
        "secretOverlapUntil": TIME,
        "version": COUNT,
        "position": COUNT,
        "health": HEALTH,
        "secret": {"type": "string", "pattern": "^whsec_"},
    },
    "additionalProperties": False,
}
DELIVERY: dict[str, Any] = {
    "type": "object",
    "required": ["position", "source", "version", "state", "attempts"],
    "properties": {
        "position": COUNT,
        "source": TEXT,
        "version": COUNT,
        "state": {"enum": list(requests.STATES)},
        "attempts": COUNT,
        **LAST,
        "erased": {"const": True},
    },
    "additionalProperties": False,
}
TESTED: dict[str, Any] = {
    "type": "object",
    "description": "What the receiver answered",
    "required": ["delivered", "latency"],
    "properties": {
        "delivered": {"type": "boolean"},
        "status": {"type": "integer"},
        "latency": COUNT,
        "answer": TEXT,
        "error": TEXT,
    },
    "additionalProperties": False,
}
REDELIVERED: dict[str, Any] = {
    "type": "object",
    "description": "The number of events that are sent again, at most 10 000 at once",
    "required": ["redelivered"],
    "properties": {"redelivered": COUNT},
    "additionalProperties": False,
}
REWOUND: dict[str, Any] = {
    "type": "object",
    "description": "The position after which events are sent again",
    "required": ["from"],
    "properties": {"from": COUNT},
    "additionalProperties": False,
}


BEGINS: dict[str, Any] = {
    "description": "`start`, a position or a time",
    "anyOf": [{"type": "string", "maxLength": 40}, COUNT],
}


class RedeliverFailed(Value):
    """Send again what was given up since a time."""

    since: Time


class RewindWebhook(Value):
    """Send again what follows on a position, a time, or the `start`."""

    begins: Annotated[
        str, BeforeValidator(beginning), Field(alias="from", max_length=40), WithJsonSchema(BEGINS)
    ]
