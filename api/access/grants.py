"""Finds the executions that an auditor may read by its active grants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import structlog

from api.access.identity import Caller
from api.access.rights import ROLES, Role
from api.access.scope import AUDITING, Reach, Scope
from domain.access.grant import Grant
from domain.errors import Invalid
from domain.eventlog.store import Store
from domain.lru import LruCache
from projections.catalog import Catalog
from projections.executions.columns import FIELDS, field
from projections.query.ast import EVERYTHING, And, Compare, Condition, Not
from projections.query.matcher import parties_suffice
from projections.query.parser import from_json

FRESH = 0.5
"""Seconds for which the grants of an auditor are cached: a revocation applies in each process after them."""
MOST_AUDITORS = 1_000
"""Auditors whose grants are cached."""
PAGE = 500
"""Grants that one query reads."""
EXECUTIONS = Not(Compare(FIELDS["$id"], "$in", (None,)))
"""The condition that every execution meets, and no other aggregate."""

log = structlog.get_logger()


class Granted(NamedTuple):
    """The grants of an auditor, as reaches, and the monotonic time at which they were read."""

    at: float
    reaches: tuple[Reach, ...]


class Grants:
    """Finds the grants of auditors: their ids in the catalog, their current states in the log."""

    def __init__(self, store: Store, catalog: Catalog, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._catalog = catalog
        self._clock = clock
        self._cached: LruCache[str, Granted] = LruCache(MOST_AUDITORS)

    async def widen(self, caller: Caller) -> Caller:
        """Add the granted executions to the scope of a caller. A caller that is no auditor is returned as it is.

        Raises:
            Overloaded: the database is unavailable.
        """
        if AUDITING not in caller.scope.reaches:
            return caller
        granted = await self._reaches(caller.subject)
        return replace(caller, scope=Scope((*caller.scope.reaches, *granted)))

    async def still_reached(self, caller: Caller) -> bool:
        """Whether all grants are still active by which `widen` has widened the scope of a caller.

        Raises:
            Overloaded: the database is unavailable.
        """
        own = {reach for reach in caller.scope.reaches if reach.rights == AUDITING.rights}
        return own <= {AUDITING, *await self._reaches(caller.subject)}

    async def _reaches(self, auditor: str) -> tuple[Reach, ...]:
        granted = self._cached.get(auditor)
        if granted is None or monotonic() - granted.at > FRESH:
            now = monotonic()
            granted = Granted(now, await self._find(auditor))
            self._cached.put(auditor, granted)
            self._cached.trim()
        return granted.reaches

    async def _find(self, auditor: str) -> tuple[Reach, ...]:
        only = {"auditor": auditor, "status": "active"}
        streams: list[str] = []
        cursor, now = None, self._clock()
        async with self.store.reader() as connection:
            while True:
                page = await self._catalog.list(
                    connection, "grant", only, limit=PAGE, cursor=cursor, now=now
                )
                streams += [f"grant/{entry.id}" for entry in page.data]
                if (cursor := page.next_cursor) is None:
                    break
        found = await self.store.load_all(streams) if streams else {}
        live = [versioned.state for versioned in found.values() if versioned.state.is_live(now)]
        return tuple(reach for grant in live if (reach := _reach(grant)) is not None)


def _reach(grant: Grant) -> Reach | None:
    """The reach of a grant; None where its filter cannot be read, so that it grants nothing."""
    try:
        condition = condition_of(grant)
    except Invalid as error:
        log.error("a grant cannot be read, and grants nothing", grant=grant.id, reason=str(error))
        return None
    return Reach(condition, ROLES[Role.AUDITOR])


def condition_of(grant: Grant) -> Condition:
    """The condition of the executions that a grant makes readable.

    Raises:
        Invalid: a filter has a field that does not exist any more.
    """
    within = from_json(grant.within or {}, field)
    if grant.executions:
        named: Condition = Compare(FIELDS["$id"], "$in", grant.executions)
    elif grant.order is not None:
        named = Compare(FIELDS["order"], "$in", (grant.order,))
    elif grant.service is not None:
        named = Compare(FIELDS["service"], "$in", (grant.service,))
    else:
        named = from_json(grant.filter or {}, field)
    parts = [part for part in (within, named) if part != EVERYTHING]
    if all(map(parties_suffice, parts)):  # else orders of the same parties would meet the condition
        parts.append(EXECUTIONS)
    return And(tuple(parts))
