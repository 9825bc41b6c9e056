"""Verifies the history of one execution against everything that is stored of it."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.routes.audit.tree import HASH, shape
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.errors import NotFound
from projections.audit.reader import TreeReader
from projections.audit.tables import TreeHead
from projections.history_check import HistoryCheck, HistoryVerification

WHOLE = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
FAULT = {
    "type": "object",
    "required": ["part", "place", "what"],
    "properties": {"part": TEXT, "place": TEXT, "what": TEXT, "position": WHOLE, "member": TEXT},
    "additionalProperties": False,
}
VERIFICATION = shape(
    **{
        "$id": TEXT,
        "fits": {"type": "boolean"},
        "events": WHOLE,
        "position": WHOLE,
        "proven": WHOLE,
        "treeSize": WHOLE,
        "rootHash": HASH,
        "readModel": shape(version=WHOLE, position=WHOLE),
        "faults": {"type": "array", "items": FAULT},
    }
)


class VerificationHandlers:
    """Handles the operation of verification."""

    def __init__(self, check: HistoryCheck, tree: TreeReader, consistency: Consistency) -> None:
        self._check = check
        self._tree = tree
        self._consistency = consistency

    async def verify(self, request: Request) -> ASGIApp:
        """Compare the events of an execution with each other, the signed tree, the served state and the view.

        Raises:
            NotFound: nothing is stored of the execution.
            NotYetVisible: the signed head does not reach `?minPosition=` in time.
        """

        async def size() -> int:
            return (await self._tree.head()).size

        await self._consistency.wait_until(request, size, await size())
        found = await self._check.verify(request.path["id"])
        if found is None or found.head is None:
            raise NotFound.of("execution")
        headers = {"log-position": str(found.position), "cache-control": "no-store"}
        return responses.json(_document(found, found.head), {**headers, **responses.VARY})


def _document(found: HistoryVerification, head: TreeHead) -> dict[str, Any]:
    return {
        "$id": found.id,
        "fits": not found.faults,
        "events": found.events,
        "position": found.position,
        "proven": found.proven,
        "treeSize": head.size,
        "rootHash": head.root.hex(),
        "readModel": {"version": found.view_version, "position": found.view_position},
        "faults": [fault.members() for fault in found.faults],
    }


def routes(handlers: VerificationHandlers) -> tuple[Operation, ...]:
    """The operation of verification."""
    return (
        Operation(
            "verifyExecution",
            "GET",
            "/executions/{id}/verify",
            Right.READ_EVENTS,
            "Fold the history again, and compare it with the signed tree and the view",
            handlers.verify,
            answer=VERIFICATION,
            parameters=FRESH,
            sends=responses.AS_OF,
            long=True,
        ),
    )
