"""The history of one execution as a zip file, with its proofs and a program that checks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.access.scope import meets
from api.routes.audit.tree import read_head
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.errors import Damaged, NotFound, TooExpensive
from domain.eventlog.archive.archived_queries import Versions, fetch_of_streams
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import FORWARDS, NEWEST
from domain.eventlog.store import Store
from projections.audit.access.proven import proven_reads
from projections.audit.bundle import ProvenEvent, Reads, bundle
from projections.audit.note import Signer
from projections.audit.reader import TreeReader
from projections.representations.cloudevents import envelope

ZIP = "application/zip"
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of the stored events of one bundle, at most."""
PAGE, PAGE_BYTES = 500, 8 * 1024 * 1024
SMALLER = "has too long a history for a bundle; its parts are proven by GET /audit/inclusion"


class BundleHandlers:
    """Handles the operation of bundles."""

    def __init__(
        self, store: Store, tree: TreeReader, signer: Signer, consistency: Consistency
    ) -> None:
        self._store = store
        self._tree = tree
        self._signer = signer
        self._consistency = consistency

    async def read(self, request: Request) -> ASGIApp:
        """Answer the bundle of an execution, once a signed head covers its last event.

        Raises:
            NotFound: there is no such execution.
            TooExpensive: the events have more than `MOST_BYTES`.
        """
        stream = f"execution/{request.path['id']}"
        rows = [row async for row in self._rows(stream)]
        if not rows:
            raise NotFound.of("execution")
        head = await read_head(self._tree, self._consistency, request, rows[-1].position)
        if head.public_key != self._signer.public_key:
            raise Damaged("The signed tree head cannot be read.", reason="another key signed it")
        key = (await self._store.keys([stream]))[stream]
        events: list[ProvenEvent] = []
        for begin in range(0, len(rows), PAGE):
            page = rows[begin : begin + PAGE]
            proofs = await self._tree.inclusions([row.position for row in page], head.size)
            for row, proof in zip(page, proofs, strict=True):
                shown = envelope(row, key, log=self._store.log_name)
                events.append(ProvenEvent(row, shown, proof))
                await asyncio.sleep(0)
        looked = await self._read_proven_reads(request.caller, request.path["id"], head.size)
        packed = await asyncio.to_thread(bundle, stream, events, head, self._signer, looked)
        headers = {
            "log-position": str(head.size),
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{request.path["id"]}.zip"',
            **responses.VARY,
        }
        return Response(packed, headers=headers, media_type=ZIP)

    async def _read_proven_reads(self, caller: Caller, execution: str, head: int) -> Reads:
        """The proven reads, for callers that may see them. Reads of several executions are only for callers that may see
        all.
        """
        scope, right = caller.scope, Right.READ_ACCESS
        party = None if scope.is_unlimited(right) else caller.name
        if party is not None:
            versioned = await self._store.load(f"execution/{execution}")
            if versioned is None or not meets(scope.condition(right), versioned):
                return Reads()
        try:
            async with self._store.reader() as connection:
                anchors, reads = await proven_reads(connection, execution, head, party)
        except LookupError as error:
            raise Damaged("The access log cannot be read.", reason=str(error)) from None
        rows = [(await self._store.read(position - 1, 1))[0] for position in anchors]
        proofs = await self._tree.inclusions(anchors, head) if anchors else []
        return Reads(reads, list(zip(rows, proofs, strict=True)))

    async def _rows(self, stream: str) -> AsyncIterator[EventRow]:
        after, size, more = 0, 0, True
        while more:
            async with self._store.reader() as connection:
                values = (stream, after, NEWEST, None, None, PAGE + 1, PAGE_BYTES)
                bounds = {stream: Versions(after, after + PAGE + 1)}
                found = await fetch_of_streams(
                    connection, FORWARDS, values, [stream], versions=bounds
                )
            for _, *columns in found:
                row = EventRow(*columns)
                size += len(row.data)
                if size > MOST_BYTES:
                    raise TooExpensive.field("id", SMALLER)
                yield row
                after = row.version
            more = bool(found)


def routes(handlers: BundleHandlers) -> tuple[Operation, ...]:
    """The operation of bundles."""
    return (
        Operation(
            "readBundle",
            "GET",
            "/audit/bundle/{id}",
            Right.READ_EVENTS,
            "The history of an execution as a zip that proves itself: events, proofs, head, `verify.py`",
            handlers.read,
            media_type=ZIP,
            answer={"type": "string", "format": "binary"},
            parameters=FRESH,
            sends=responses.AS_OF,
            problems=("too-expensive",),
            long=True,
        ),
    )
