"""API keys: created, which shows the key this once; listed and read without the key itself; revoked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import Field
from starlette.types import ASGIApp

from api.access.keys import key_id, new_key
from api.access.rights import ROLES, Right, Role
from api.documents.schemas import page_of
from api.routes.access import schemas
from api.routes.catalog import entry_response, send
from api.routes.catalog_kinds import KEY
from api.web import responses
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.entries import Entries
from api.web.request import Request
from domain.access.key import CreateKey, KeyRole, RevokeKey
from domain.errors import Invalid
from domain.json_forms import Time, format_time
from domain.model import Value
from domain.types import Id, Label
from domain.writer.command_bus import Bus
from projections.key_uses import last_uses
from projections.representations.catalog import at_time, document
from projections.representations.client_json import plain_json


class NewKey(Value):
    """Who is to have a key: a role, and whose. Without `rights` it has all of its role. The key of an assignee may be
    for the executions of one `customer` or `provider` alone: names of assignees and workers are of the whole log.
    """

    role: KeyRole
    party: Id | None = None
    customer: Id | None = None
    provider: Id | None = None
    name: Label | None = None
    rights: Annotated[tuple[Right, ...], Field(min_length=1)] | None = None
    expires_at: Time | None = None


class KeyHandlers:
    """Handles the operations of keys. `fingerprint` makes the stored HMAC of a key."""

    def __init__(self, bus: Bus, entries: Entries, fingerprint: Callable[[bytes], str]) -> None:
        self._bus = bus
        self._entries = entries
        self._fingerprint = fingerprint

    async def create(self, request: Request) -> ASGIApp:
        """Create a key, and show it this once.

        Raises:
            Forbidden: the key would have a right that the caller has not.
        """
        wanted = parse(NewKey, request.body)
        role = Role(wanted.role)
        _require_rights_of(role, wanted.rights)
        for right in sorted(wanted.rights or ROLES[role]):
            request.caller.require(right)
        key = new_key()
        digest = self._fingerprint(key)
        command = CreateKey(**wanted.model_dump(), digest=digest)
        message = request.message(f"key/{key_id(digest)}", command)
        if is_dry_run(request):
            return await dry_run_answer(request, self._bus, message)
        answer = await self._bus.send(message)
        # A repeated request cannot show the key, which is not stored.
        shown = {} if answer.replayed else {"key": key.decode()}
        return entry_response(answer, f"keys/{answer.versioned.state.id}", shown)

    async def read(self, request: Request) -> ASGIApp:
        """Read a key, always current."""
        versioned, position = await self._entries.one(request, "key")
        async with self._entries.store.reader() as connection:
            used = await last_uses(connection, [versioned.state.id])
        headers = {"log-position": str(position)}
        shown = at_time(document(versioned), self._entries.clock())
        return responses.json(_with_use(shown, used), headers)

    async def list(self, request: Request) -> ASGIApp:
        """A page of keys, each with the time of its last use."""
        page = await self._entries.page(request, "key", KEY.filters_of(request))
        async with self._entries.store.reader() as connection:
            used = await last_uses(connection, [entry.id for entry in page.data])
        items = [_with_use(orjson.loads(entry.document), used) for entry in page.data]
        shown = responses.page([plain_json(item) for item in items], page.next_cursor)
        return responses.json(shown, {"log-position": str(page.position)})

    async def revoke(self, request: Request) -> ASGIApp:
        """Revoke a key, which continues to be shown, with the time and the actor."""
        message = request.message(f"key/{request.path['id']}", parse(RevokeKey, request.body))
        return await send(request, self._bus, message, "keys")


def _require_rights_of(role: Role, rights: tuple[Right, ...] | None) -> None:
    """Raises Invalid for rights that the role has not, and for any rights of an auditor, who reads only by grants."""
    if role is Role.AUDITOR and rights is not None:
        raise Invalid.field("rights", "must be left out: an auditor may do what it was granted")
    if unfit := set(rights or ()) - ROLES[role]:
        names = ", ".join(sorted(unfit))
        raise Invalid.field("rights", f"must be rights of the role, but has {names}")


def _with_use(shown: dict[str, Any], used: dict[str, datetime]) -> dict[str, Any]:
    at = used.get(shown["$id"])
    return shown if at is None else {**shown, "lastUsedAt": format_time(at)}


def routes(handlers: KeyHandlers) -> Iterable[Operation]:
    """The operations of API keys."""
    yield Operation(
        "createKey",
        "POST",
        "/keys",
        Right.MANAGE_KEYS,
        "Make an API key, which is shown this once",
        handlers.create,
        body=NewKey,
        answer=schemas.KEY,
        status=201,
        parameters=(DRY_RUN,),
        problems=("unknown-reference",),
        sends=(*responses.DONE, "Location"),
    )
    yield Operation(
        "revokeKey",
        "DELETE",
        "/keys/{id}",
        Right.MANAGE_KEYS,
        "Revoke an API key, at once",
        handlers.revoke,
        body=RevokeKey,
        answer=schemas.KEY,
        parameters=(DRY_RUN,),
        sends=(*responses.DONE, "Location"),
    )
    yield from _reads(handlers)


def _reads(handlers: KeyHandlers) -> Iterable[Operation]:
    yield Operation(
        "listKeys",
        "GET",
        "/keys",
        Right.MANAGE_KEYS,
        "List API keys, without the keys themselves",
        handlers.list,
        answer=page_of(schemas.KEY),
        sends=responses.AS_OF,
        parameters=(*KEY.parameters, LIMIT, CURSOR, *FRESH),
    )
    yield Operation(
        "readKey",
        "GET",
        "/keys/{id}",
        Right.MANAGE_KEYS,
        "One API key, without the key itself",
        handlers.read,
        answer=schemas.KEY,
        sends=responses.AS_OF,
        parameters=FRESH,
    )
