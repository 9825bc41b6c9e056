"""Reads entries of the catalog: one by its id from the log, always current, or a page of them from the view."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from api.web.reads.consistency import Consistency, require_position
from api.web.request import Request
from domain.errors import NotFound
from domain.eventlog.store import Store
from domain.model import Versioned
from projections.catalog import Catalog, CatalogPage
from projections.query.ast import EVERYTHING, Condition


class Entries:
    """Reads the entries of all kinds in the catalog."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        consistency: Consistency,
        clock: Callable[[], datetime],
    ) -> None:
        self.store = store
        self.clock = clock
        self._catalog = catalog
        self._consistency = consistency

    async def one(self, request: Request, kind: str) -> tuple[Versioned[Any], int]:
        """The entry that a request's path names, and the position of the log that it was read at.

        Raises:
            NotFound: there is no such entry.
        """
        stream = f"{kind}/{request.path['id']}"
        reading = await self._consistency.read(request, lambda: self.store.load_with_head(stream))
        if reading.versioned is None:
            raise NotFound.of(kind)
        return reading.versioned, reading.position

    async def page(
        self,
        request: Request,
        kind: str,
        wanted: Mapping[str, str],
        *,
        scope: Condition = EVERYTHING,
        ids: Collection[str] | None = None,
    ) -> CatalogPage:
        """The page that a request asks for, of the entries in a scope whose members have the values in `wanted`."""
        await self._consistency.wait_for_projection(request, "catalog")
        async with self.store.reader() as connection:
            page = await self._catalog.list(
                connection,
                kind,
                wanted,
                scope=scope,
                ids=ids,
                limit=request.integer("limit", 1, 500) or 50,
                cursor=request.parameter("cursor"),
                now=self.clock(),
            )
        require_position(request, page.position)
        return page

    async def open_grants(self, customer: str | None, provider: str | None) -> int:
        """The number of open grants of a customer, a provider or a party that is both, as of the view's position."""
        async with self.store.reader() as connection:
            return await self._catalog.open_grants(connection, customer, provider, self.clock())
