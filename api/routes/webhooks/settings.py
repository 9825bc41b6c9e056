"""The settings in a body that changes a webhook, which may be a document that was read and is sent back."""

from __future__ import annotations

from typing import Any

import orjson

from api.routes.webhooks.schemas import WEBHOOK
from api.web.input.read_only import BESIDE, MESSAGE
from domain.catalog.webhook import Hook
from domain.catalog.webhook_commands import UpdateWebhook
from domain.errors import ReadOnly
from domain.json_equality import same_json
from domain.model import Versioned
from projections.representations.catalog import hook_document
from projections.representations.client_json import plain_json

SHOWN = frozenset(WEBHOOK["properties"]) - UpdateWebhook.model_fields.keys()
"""What a document has besides settings: the server owns it."""


def is_document(given: dict[str, Any]) -> bool:
    """Whether a body has members that only a document has which was read."""
    return not SHOWN.isdisjoint(given)


def changes_of(given: dict[str, Any], versioned: Versioned[Hook]) -> dict[str, Any]:
    """The settings of a document that are not as they are shown.

    Raises:
        ReadOnly: members that the server owns are not as they are shown.
    """
    shown: dict[str, Any] = orjson.loads(plain_json(hook_document(versioned)))
    changed = {
        name: value
        for name, value in given.items()
        if name not in BESIDE and not same_json(value, shown.get(name))
    }
    if wrong := SHOWN & changed.keys():
        raise ReadOnly(errors=[{"path": name, "message": MESSAGE} for name in sorted(wrong)])
    return changed
