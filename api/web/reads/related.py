"""`expand=`: what an execution refers to, such as its order and its service, as ids or whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.access.identity import Caller
from api.access.rights import Right
from domain.errors import Invalid
from domain.eventlog.states import PositionOrTime
from domain.eventlog.store import Store
from projections.query.matcher import by_parties, matches
from projections.representations.catalog import document
from projections.representations.client_json import with_nulls

RELATIONS = {
    "order": "order",
    "service": "service",
    "workflow": "workflow",
    "customer": "user",
    "provider": "user",
}
OF_ALL = frozenset({"service", "workflow"})


def require_relations(wanted: list[str]) -> list[str]:
    """The relations to show whole. Raises Invalid where one is none."""
    for name in wanted:
        if name not in RELATIONS:
            raise Invalid.field(
                "expand", f"must be of {', '.join(RELATIONS)}, but has `{name[:100]}`"
            )
    return wanted


async def expand(
    store: Store,
    caller: Caller,
    documents: Sequence[dict[str, Any]],
    names: Sequence[str],
    moment: PositionOrTime | None = None,
) -> dict[str, int]:
    """Put objects in the place of ids, all of them read in one go; an id of nothing stays, and so does one of
    what is not shown to the caller.

    Answers the version of each relation of the last document that was put there.
    """
    references = [
        (item, name, f"{RELATIONS[name]}/{item[name]}")
        for item in documents
        for name in names
        if name in item and _is_shown(caller, name, item)
    ]
    streams = {stream for _, _, stream in references}
    found = await store.load_all(streams, moment) if streams else {}
    entries = {stream: with_nulls(document(versioned)) for stream, versioned in found.items()}
    versions: dict[str, int] = {}
    for item, name, stream in references:
        if (entry := entries.get(stream)) is not None:
            item[name] = entry
            if item is documents[-1]:
                versions[name] = entry["version"]
    return versions


def shows_erased(documents: Sequence[dict[str, Any]], names: Sequence[str]) -> bool:
    """Whether the content of something that was put there was erased."""
    objects = (item.get(name) for item in documents for name in names)
    return any(isinstance(entry, dict) and "erased" in entry for entry in objects)


def _is_shown(caller: Caller, name: str, execution: Mapping[str, Any]) -> bool:
    """Whether the object behind an id of an execution that the caller reads is for it. Services and workflows are
    for all who read the catalog; order, customer and provider for the parties of the execution; an order also
    for an auditor to whom it was granted, and a user for itself.
    """
    right, scope = Right.READ_CATALOG, caller.scope
    if right not in scope.rights or name in OF_ALL:
        return right in scope.rights
    own = by_parties(scope.condition(right))
    if matches(own, lambda wanted: execution.get(wanted.path)):
        return True
    if name == "order":
        return execution[name] in scope.values_of(Right.READ_EXECUTIONS, "order")
    return execution[name] in scope.names(right)
