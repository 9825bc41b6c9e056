"""`Prefer: receipt`: the answer to a command proves that its events are in the signed tree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp

from api.routes.audit.tree import hexadecimal
from api.web.operation import Handler, Operation
from api.web.preferences import wants_receipt
from api.web.reads.consistency import POLL, patience
from api.web.request import Request
from domain.errors import Damaged, Overloaded
from projections.audit.reader import TreeReader
from projections.audit.tables import TreeHead

ACCEPTED = 202
NOT_YET = (
    "Recorded and answered as always, but no signed head covers it yet: it has no receipt (Prefer)"
)


class Receipts:
    """Waits until a signed head covers the events of a command, and adds the proof to the answer."""

    def __init__(self, tree: TreeReader) -> None:
        self._tree = tree
        self._reading: asyncio.Task[TreeHead] | None = None

    def covering(self, rows: Iterable[Operation]) -> tuple[Operation, ...]:
        """Add receipts to the operations that are commands to executions, and return all operations."""
        return tuple(self._cover(row) if _can_have_receipt(row) else row for row in rows)

    def _cover(self, row: Operation) -> Operation:
        handler = self._handler(row.handler)
        return row._replace(
            handler=handler,
            others={**row.others, ACCEPTED: NOT_YET},
            other_answers={**row.other_answers, ACCEPTED: row.answer},
        )

    def _handler(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> ASGIApp:
            answer = await handler(request)
            prefer = request.headers.get(b"prefer")
            if prefer is None or not wants_receipt(prefer) or not isinstance(answer, Response):
                return answer
            return await self._with_receipt(request, answer)

        return handle

    async def _with_receipt(self, request: Request, answer: Response) -> Response:
        """Add a receipt to an answer, or the status 202 where no head covers it in time."""
        if "log-position" not in answer.headers:  # nothing was recorded
            return answer
        position = int(answer.headers["log-position"])
        head = await self._covering_head(position, patience(request))
        if head is None:
            answer.status_code = ACCEPTED
            return answer
        proof = await self._tree.inclusion(position, head.size)
        receipt = {
            "position": position,
            "leafHash": proof.leaf_hash.hex(),
            "treeSize": head.size,
            "rootHash": head.root.hex(),
            "path": hexadecimal(proof.path),
            "note": head.note,
            "publicKey": head.public_key,
        }
        answer.body = b'%b,"receipt":%b}' % (bytes(answer.body)[:-1], orjson.dumps(receipt))
        answer.headers["content-length"] = str(len(answer.body))
        applied = answer.headers.get("preference-applied")
        answer.headers["preference-applied"] = f"{applied}, receipt" if applied else "receipt"
        return answer

    async def _covering_head(self, position: int, seconds: float) -> TreeHead | None:
        """The first signed head that covers a position; None where there is none in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                head = await self._next_head()
            except (Overloaded, Damaged):
                return None
            if head.size >= position:
                return head
        return None

    async def _next_head(self) -> TreeHead:
        """The head after `POLL` seconds, by one query for all waiting requests."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="signed head")
        return await asyncio.shield(self._reading)

    async def _read(self) -> TreeHead:
        await asyncio.sleep(POLL)
        return await self._tree.head()


def _can_have_receipt(row: Operation) -> bool:
    return "Preference-Applied" in row.sends and row.method != "GET"
