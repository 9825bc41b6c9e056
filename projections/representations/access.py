"""The JSON of entries of the access log."""

from __future__ import annotations

from typing import Any

import orjson

from domain.eventlog.access.entry import AccessEntry
from domain.json_forms import format_time


def access_document(entry: AccessEntry, *, only: str | None, whole: bool) -> dict[str, Any]:
    """Return an entry as clients see it. With `only`, the id of an execution that the caller may see, no other execution
    of the entry is named; None names all of them.

    The request may name executions of other parties. So the request and the credential are included only if `whole`.
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
