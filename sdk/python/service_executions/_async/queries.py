"""Lists that are read page by page, each page when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic_core import from_json

from service_executions._async.transport import AsyncTransport
from service_executions.requests import Request, parameter

Item = TypeVar("Item")


@dataclass(frozen=True)
class AsyncPage(Generic[Item]):
    """A page of a list. `next_cursor` is that of the next page; `total` is None unless it was asked for. `missing`, of a list
    of several logs, are the logs that were unavailable, each with a `cell` and a `reason`.
    """

    data: list[Item]
    has_more: bool
    next_cursor: str | None
    total: int | None = None
    facets: dict[str, Any] | None = None
    missing: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


class AsyncQuery(Generic[Item]):
    """A list that is read when it is used. Iterating over it reads its pages as they are needed."""

    def __init__(
        self, transport: AsyncTransport, request: Request, item: Callable[[Any], Item]
    ) -> None:
        self._transport = transport
        self._request = request
        self._item = item

    async def __aiter__(self) -> AsyncIterator[Item]:
        cursor: str | None = None
        while True:
            page = await self.page(cursor)
            for item in page.data:
                yield item
            if not page.has_more:
                return
            cursor = page.next_cursor

    async def page(
        self,
        cursor: str | None = None,
        *,
        limit: int | None = None,
        count: bool = False,
        facets: list[str] | None = None,
    ) -> AsyncPage[Item]:
        """Return the first page, or the page after a cursor. `count` adds the total, `facets` the number of items for each
        value of these fields.
        """
        options = {"cursor": cursor, "limit": limit, "count": count or None, "facets": facets}
        given = {name: parameter(value) for name, value in options.items() if value is not None}
        request = replace(self._request, query={**self._request.query, **given})
        page = from_json((await self._transport.send(request)).content)
        return AsyncPage(
            [self._item(item) for item in page["data"]],
            page["hasMore"],
            page["nextCursor"],
            page.get("total"),
            page.get("facets"),
            page.get("missing", []),
        )

    async def first(self) -> Item | None:
        """Return the first item; None if the list is empty."""
        return next(iter((await self.page(limit=1)).data), None)

    async def all(self, limit: int | None = None) -> list[Item]:
        """Return all items, or the first `limit` items."""
        found: list[Item] = []
        if limit is not None and limit < 1:
            return found
        async for item in self:
            found.append(item)
            if len(found) == limit:
                break
        return found

    async def count(self) -> int:
        """Return the present number of items."""
        total = (await self.page(limit=1, count=True)).total
        return 0 if total is None else total
