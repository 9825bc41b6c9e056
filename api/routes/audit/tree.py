"""The signed tree head, and proofs of inclusion and consistency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.negotiation import prefers
from api.web.operation import Operation, Parameter
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.errors import Invalid, NotFound, Overloaded
from domain.json_forms import format_time
from projections.audit.reader import Inclusions, TreeReader
from projections.audit.tables import TreeHead
from projections.audit.tiles import TILE_BYTES

PLAIN, OCTETS = "text/plain", "application/octet-stream"
MOST = 2**63 - 1
HIGHEST_LEVEL = 7
SIZE = {"type": "integer", "minimum": 1}
HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
PATH = {"type": "array", "items": HASH}


def shape(**members: Any) -> dict[str, Any]:
    """The schema of an object that has exactly these members."""
    return {
        "type": "object",
        "required": list(members),
        "properties": members,
        "additionalProperties": False,
    }


HEAD = shape(
    treeSize={"type": "integer", "minimum": 0},
    rootHash=HASH,
    timestamp={"type": "string", "format": "date-time"},
    origin={"type": "string"},
    publicKey={"type": "string"},
    note={"type": "string"},
)
INCLUSION = shape(position=SIZE, leafHash=HASH, treeSize=SIZE, rootHash=HASH, path=PATH)
CONSISTENCY = shape(**{"from": SIZE, "fromHash": HASH, "to": SIZE, "toHash": HASH, "path": PATH})


class TreeHandlers:
    """Handles the operations of the tree."""

    def __init__(self, tree: TreeReader, consistency: Consistency) -> None:
        self._tree = tree
        self._consistency = consistency

    async def head(self, request: Request) -> ASGIApp:
        """Answer the last signed head, as JSON or as the signed note."""
        head = await self._head(request)
        headers = {"log-position": str(head.size), "cache-control": "no-cache", **responses.VARY}
        if prefers(request.header("accept") or "", PLAIN, responses.JSON):
            return Response(head.note, headers=headers, media_type=PLAIN)
        shown = {
            "treeSize": head.size,
            "rootHash": head.root.hex(),
            "timestamp": format_time(head.at),
            "origin": head.origin,
            "publicKey": head.public_key,
            "note": head.note,
        }
        return responses.json(shown, headers)

    async def inclusion(self, request: Request) -> ASGIApp:
        """Prove that the event at a position is in the tree, or in an earlier tree.

        Raises:
            Invalid: the tree is smaller than `treeSize`, or has no leaf at the position.
        """
        position = _require_position(request, "position")
        ahead = Inclusions([position], request.integer("treeSize", 1, MOST) or 0)
        head = await read_head(self._tree, self._consistency, request, ahead=ahead)
        size = _size(request, "treeSize", head) or head.size
        if position > size:
            raise Invalid.field(
                "position", f"must be at most {size}, the size of the tree, but is {position}"
            )
        proof = await self._tree.inclusion(position, size)
        shown = {
            "position": position,
            "leafHash": proof.leaf_hash.hex(),
            "treeSize": size,
            "rootHash": proof.root.hex(),
            "path": hexadecimal(proof.path),
        }
        return responses.json(
            shown, _cache_headers(head, for_ever=request.parameter("treeSize") is not None)
        )

    async def consistency(self, request: Request) -> ASGIApp:
        """Prove that a tree has become a later one only by appending.

        Raises:
            Invalid: the sizes are not in order, or the tree is smaller.
        """
        first = _require_position(request, "from")
        head = await self._head(request)
        second = _size(request, "to", head) or head.size
        if first > second:
            raise Invalid.field(
                "from", f"must be at most {second}, the size of the later tree, but is {first}"
            )
        proof = await self._tree.consistency(first, second)
        shown = {
            "from": first,
            "fromHash": proof.first_root.hex(),
            "to": second,
            "toHash": proof.second_root.hex(),
            "path": hexadecimal(proof.path),
        }
        return responses.json(
            shown, _cache_headers(head, for_ever=request.parameter("to") is not None)
        )

    async def tile(self, request: Request) -> ASGIApp:
        """Answer the hashes of a tile, 32 bytes each.

        Raises:
            NotFound: the tree has no such tile.
        """
        level, index = (_number(request.path[name]) for name in ("level", "index"))
        head = await self._head(request)
        found = None
        if level is not None and index is not None and level <= HIGHEST_LEVEL and index <= MOST:
            found = await self._tree.tile((level, index))
        if found is None:
            raise NotFound("The tree has no such tile.")
        full = len(found) == TILE_BYTES
        return Response(found, headers=_cache_headers(head, for_ever=full), media_type=OCTETS)

    async def _head(self, request: Request) -> TreeHead:
        return await read_head(self._tree, self._consistency, request)


async def read_head(
    tree: TreeReader,
    consistency: Consistency,
    request: Request,
    at_least: int = 0,
    ahead: Inclusions | None = None,
) -> TreeHead:
    """Read the head, once the tree has reached `?minPosition=` and `at_least`. The hashes for the proofs in `ahead` are
    read in the same query.

    Raises:
        NotYetVisible: the tree does not reach the position within the time of `Prefer: wait=<seconds>`.
        Overloaded: no head was signed yet.
    """
    head = await tree.head(ahead)

    async def size() -> int:
        nonlocal head
        head = await tree.head()
        return head.size

    await consistency.wait_until(request, size, head.size, at_least)
    if not head.origin:
        raise Overloaded("No tree head was signed yet: `executions work` signs it.")
    return head


def _require_position(request: Request, name: str) -> int:
    found = request.integer(name, 1, MOST)
    if found is None:
        raise Invalid.field(name, "is required: a position of the log, from 1")
    return found


def _size(request: Request, name: str, head: TreeHead) -> int | None:
    size = request.integer(name, 1, MOST)
    if size is not None and size > head.size:
        raise Invalid.field(
            name, f"must be at most {head.size}, the size of the signed tree, but is {size}"
        )
    if size is None and head.size == 0:
        raise Invalid.field(name, "has no leaf to lead to: the tree is empty")
    return size


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(MOST)) else None


def hexadecimal(path: Sequence[bytes]) -> list[str]:
    """The hashes of a path in hexadecimal."""
    return [each.hex() for each in path]


def _cache_headers(head: TreeHead, *, for_ever: bool) -> dict[str, str]:
    caching = responses.IMMUTABLE if for_ever else responses.REVALIDATE
    return {"log-position": str(head.size), "cache-control": caching, **responses.VARY}


def routes(handlers: TreeHandlers) -> tuple[Operation, ...]:
    """The operations of the tree."""
    return (_head(handlers), _inclusion(handlers), _consistency(handlers), _tile(handlers))


def _head(handlers: TreeHandlers) -> Operation:
    return Operation(
        "readTreeHead",
        "GET",
        "/audit/tree-head",
        Right.READ_PROOFS,
        "The signed head of the tree over all events; with `Accept: text/plain` the note (C2SP)",
        handlers.head,
        answer=HEAD,
        answer_forms={PLAIN: {"type": "string"}},
        parameters=FRESH,
        sends=responses.AS_OF,
    )


def _inclusion(handlers: TreeHandlers) -> Operation:
    return Operation(
        "proveInclusion",
        "GET",
        "/audit/inclusion",
        Right.READ_PROOFS,
        "Prove that the event at a position is in the tree (RFC 9162); hashes are in hexadecimal",
        handlers.inclusion,
        answer=INCLUSION,
        parameters=(
            Parameter("position", "The position of the event", SIZE, required=True),
            Parameter(
                "treeSize", "The number of events in the tree; by default the newest tree", SIZE
            ),
            *FRESH,
        ),
        sends=responses.AS_OF,
    )


def _consistency(handlers: TreeHandlers) -> Operation:
    return Operation(
        "proveConsistency",
        "GET",
        "/audit/consistency",
        Right.READ_PROOFS,
        "Prove that a tree has become a later one only by appending (RFC 9162); hashes are in hexadecimal",
        handlers.consistency,
        answer=CONSISTENCY,
        parameters=(
            Parameter("from", "The size of the earlier tree", SIZE, required=True),
            Parameter("to", "The size of the later tree; by default the newest tree", SIZE),
            *FRESH,
        ),
        sends=responses.AS_OF,
    )


def _tile(handlers: TreeHandlers) -> Operation:
    return Operation(
        "readTile",
        "GET",
        "/audit/tile/{level}/{index}",
        Right.READ_PROOFS,
        "256 neighbouring hashes of a level of the tree (C2SP tlog-tiles), or those that there are",
        handlers.tile,
        media_type=OCTETS,
        answer={"type": "string", "format": "binary"},
        parameters=FRESH,
        sends=responses.AS_OF,
    )
