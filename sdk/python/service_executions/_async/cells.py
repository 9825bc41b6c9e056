"""Reads several logs at once, through the server of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service_executions._async.queries import AsyncQuery
from service_executions._async.reads import Start
from service_executions._async.streams import AsyncStream, AsyncStreams, Lost
from service_executions._async.transport import AsyncTransport
from service_executions.cursors import Cursor, to_cursor
from service_executions.entries import CellExecution, CellFigures
from service_executions.frames import CellEvent, CellFrame
from service_executions.requests import read

Names = str | Sequence[str]


class AsyncCells:
    """All logs that the service knows, or those named by `cells`. The token must be valid for each of them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def executions(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        cells: Names | None = None,
        partial: bool | None = None,
        sort: str | None = None,
        limit: int | None = None,
        **fields: Any,
    ) -> AsyncQuery[CellExecution]:
        """Return the executions of several logs in one order: all, or those with these fields.

        A condition may have operators (`{"status": {"$in": [...]}}`), except `$and`, `$or` and `$not`.

        With `partial`, a log that is unavailable is left out and named in `missing` of a page; else it is an error.

        Raises:
            CellAway: a log is unavailable.
        """
        options = {"cells": cells, "partial": partial, "sort": sort, "limit": limit}
        request = read("/cells/executions", {**(filter or {}), **fields, **options})
        return AsyncQuery(self._transport, request, CellExecution.model_validate)

    async def analytics(
        self,
        *,
        by: Names | None = None,
        cells: Names | None = None,
        partial: bool | None = None,
        **filters: Any,
    ) -> CellFigures:
        """Return the figures of several logs together, with the same keys and filters as for one log.

        Raises:
            CellAway: a log is unavailable.
        """
        given = {name.rstrip("_"): value for name, value in filters.items()}
        query = {**given, "by": by, "cells": cells, "partial": partial}
        answer = await self._transport.send(read("/cells/analytics/executions", query))
        return CellFigures.model_validate_json(answer.content)

    def events(
        self,
        types: Names | None = None,
        *,
        cells: Names | None = None,
        start: Start | None = None,
        cursor: Cursor | str | None = None,
        on_lost: Lost | None = None,
        **filters: Any,
    ) -> AsyncStream[CellEvent]:
        """Return a stream of the events of several logs, from now on, or from `start` (`"start"`, a time, a cursor).

        The events of each log come in order; `away` of the stream has the names of unavailable logs. With a `cursor`, a
        path or an object, the next process continues where this one ended, in each log.
        """
        query = {"types": types, "cells": cells, "from": start, **filters}
        return AsyncStreams(self._transport).events_of_cells(query, to_cursor(cursor), on_lost)

    def watch(
        self,
        types: Names | None = None,
        *,
        cells: Names | None = None,
        start: Start | None = None,
        cursor: Cursor | str | None = None,
        on_lost: Lost | None = None,
        **filters: Any,
    ) -> AsyncStream[CellFrame]:
        """Return a stream of what happens to the executions of several logs, as flat frames. The arguments are those of
        `events`.
        """
        query = {"types": types, "cells": cells, "from": start, "format": "watch", **filters}
        return AsyncStreams(self._transport).frames_of_cells(query, to_cursor(cursor), on_lost)
