"""Finds the settings in a body that changes a webhook, which may be a document that was read before."""

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
"""The read-only members of a document."""


def is_document(given: dict[str, Any]) -> bool:
    """Whether a body has read-only members, so that it was probably read before."""
    return not SHOWN.isdisjoint(given)


def changes_of(given: dict[str, Any], versioned: Versioned[Hook]) -> dict[str, Any]:
    """The settings in a document that differ from the shown ones.

    Raises:
        ReadOnly: a read-only member differs.
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
