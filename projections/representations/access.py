"""Entries of the access log as clients see them."""

from __future__ import annotations

from typing import Any

import orjson

from domain.eventlog.access.entry import AccessEntry
from domain.json_forms import format_time


def access_document(entry: AccessEntry, *, only: str | None, whole: bool) -> dict[str, Any]:
    """The entry. `only` is the execution that the reader asks about, and knows of; None shows all that were shown.

    What was asked for may name executions of others: that and the credential are shown where it is `whole`.
    """
    access = entry.access
    shown: dict[str, Any] = {
        "id": entry.id,
        "time": format_time(entry.at),
        "actor": access.actor,
        "operation": access.operation,
        "executions": [only] if only is not None else list(access.executions),
        "address": access.address or None,
        "purpose": access.purpose or None,
        "correlation": access.correlation or None,
        "hash": entry.hash.hex(),
    }
    if whole:
        shown["credential"] = access.credential or None
        shown["asked"] = orjson.loads(access.detail) if access.detail else None
    return {name: value for name, value in shown.items() if value is not None}
