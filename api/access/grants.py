"""Finds the executions that an auditor may read by the grants in force."""

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
"""Seconds for which what was found stands: so soon a revocation is known to each process."""
MOST_AUDITORS = 1_000
"""Auditors whose grants are remembered."""
PAGE = 500
EXECUTIONS = Not(Compare(FIELDS["$id"], "$in", (None,)))
"""What every execution meets, and nothing else of the log."""

log = structlog.get_logger()


class Granted(NamedTuple):
    """What an auditor reached at a time of the steady clock, and the same caller with it."""

    at: float
    reaches: tuple[Reach, ...]


class Grants:
    """Finds the grants of auditors: which there are in the catalog, what has become of each in the log."""

    def __init__(self, store: Store, catalog: Catalog, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._catalog = catalog
        self._clock = clock
        self._found: LruCache[str, Granted] = LruCache(MOST_AUDITORS)

    async def widen(self, caller: Caller) -> Caller:
        """A caller with what it was granted; the same one where it is no auditor.

        Raises:
            Overloaded: the database cannot be asked.
        """
        if AUDITING not in caller.scope.reaches:
            return caller
        granted = await self._reaches(caller.subject)
        return replace(caller, scope=Scope((*caller.scope.reaches, *granted)))

    async def still_reached(self, caller: Caller) -> bool:
        """Whether a caller from `widen` still has all of that.

        Raises:
            Overloaded: the database cannot be asked.
        """
        own = {reach for reach in caller.scope.reaches if reach.rights == AUDITING.rights}
        return own <= {AUDITING, *await self._reaches(caller.subject)}

    async def _reaches(self, auditor: str) -> tuple[Reach, ...]:
        found = self._found.get(auditor)
        if found is None or monotonic() - found.at > FRESH:
            asked = monotonic()
            found = Granted(asked, await self._find(auditor))
            self._found.put(auditor, found)
            self._found.trim()
        return found.reaches

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
    """None where the filter cannot be read any more: what is not understood grants nothing."""
    try:
        condition = condition_of(grant)
    except Invalid as error:
        log.error("a grant cannot be read, and grants nothing", grant=grant.id, reason=str(error))
        return None
    return Reach(condition, ROLES[Role.AUDITOR])


def condition_of(grant: Grant) -> Condition:
    """What an execution has to meet to be granted.

    Raises:
        Invalid: a filter has a field that there is no more.
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
    if all(map(parties_suffice, parts)):  # else orders of the same parties would meet it
        parts.append(EXECUTIONS)
    return And(tuple(parts))
