"""What an execution refers to: its order, its service and so on, as ids or whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.errors import Invalid
from domain.eventlog.states import Moment
from domain.eventlog.store import Store
from projections.representations.catalog import document

RELATIONS = {
    "order": "order",
    "service": "service",
    "workflow": "workflow",
    "customer": "user",
    "provider": "user",
}


def expanded(wanted: list[str]) -> list[str]:
    """The relations to show whole. Raises Invalid where one is none."""
    for name in wanted:
        if name not in RELATIONS:
            raise Invalid.field(
                "expand", f"must be of {', '.join(RELATIONS)}, but has `{name[:100]}`"
            )
    return wanted


async def expand(
    store: Store,
    documents: Sequence[dict[str, Any]],
    names: Sequence[str],
    moment: Moment | None = None,
) -> dict[str, int]:
    """Put objects in the place of ids, all of them read in one go; an id of nothing stays.

    Answers the version of each relation of the last document that was put there.
    """
    streams = {f"{RELATIONS[n]}/{item[n]}" for n in names for item in documents if n in item}
    found = await store.load_all(streams, moment) if streams else {}
    entries = {stream: document(versioned) for stream, versioned in found.items()}
    versions: dict[str, int] = {}
    for item in documents:
        for name in names:
            entry = entries.get(f"{RELATIONS[name]}/{item[name]}") if name in item else None
            if entry is not None:
                item[name], versions[name] = entry, entry["version"]
    return versions
