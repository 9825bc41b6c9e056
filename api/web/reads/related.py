"""`expand=`: shows entries that an execution refers to, such as its order, in the place of their ids."""

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
    """Check the relations of `expand`, and return them. Raises Invalid where one is unknown."""
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
    """Replace ids in documents by the entries that they name, read in one query.

    An id stays where there is no such entry, or where the caller may not read it. Return the versions of the entries
    in the last document, by relation.
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
    """Whether the content of an entry that `expand` has shown was erased."""
    objects = (item.get(name) for item in documents for name in names)
    return any(isinstance(entry, dict) and "erased" in entry for entry in objects)


def _is_shown(caller: Caller, name: str, execution: Mapping[str, Any]) -> bool:
    """Whether the caller may read the entry that an execution refers to.

    Services and workflows are shown to all who may read the catalog; order, customer and provider to the parties of
    the execution; an order also to an auditor that it was granted to, and a user to itself.
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
