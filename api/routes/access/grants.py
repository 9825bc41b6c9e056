"""Grants: made, shown and revoked by the party whose executions they open, and shown to their auditors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.access.scope import AUDITING, meets
from api.documents import schemas
from api.documents.grant_schema import GRANT
from api.routes.catalog import send
from api.routes.commands import NewId
from api.web import responses
from api.web.dry_run import DRY_RUN
from api.web.input.command_body import parse
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.entries import Entries
from api.web.request import Request
from domain.access.grant import CreateGrant, GrantRequest, RevokeGrant
from domain.errors import Damaged, Forbidden, NotFound
from domain.model import Versioned
from domain.writer.command_bus import Bus
from domain.writer.visible_states import placeholder_of
from projections.executions.columns import field
from projections.query.as_json import as_json
from projections.query.ast import EVERYTHING, Condition
from projections.query.matcher import by_parties
from projections.query.parser import from_json
from projections.representations.catalog import at_time, document

FILTERS = ("auditor", "status", "executions", "order", "service")
PARTIES = ("customer", "provider")


class GrantHandlers:
    """Handles the operations of grants."""

    def __init__(self, bus: Bus, entries: Entries, new_id: NewId) -> None:
        self._bus = bus
        self._entries = entries
        self._new_id = new_id

    async def create(self, request: Request) -> ASGIApp:
        """Create a grant for executions that its maker reaches.

        Raises:
            Forbidden: the caller is neither a customer nor a provider.
            TooManyGrants: the caller has reached the limit of open grants.
        """
        asked = parse(GrantRequest, request.body)
        if asked.filter is not None:
            from_json(asked.filter, field, "filter")
        maker = _maker(request.caller)
        before = await self._entries.open_grants(maker.get("customer"), maker.get("provider"))
        command = CreateGrant(**dict(asked), **maker, open_before=before)
        message = request.message(f"grant/{self._new_id('grant')}", command)
        return await send(request, self._bus, message, "grants")

    async def list_all(self, request: Request) -> ASGIApp:
        """A page of grants: those that the caller has made, or for an auditor those that were made for it."""
        wanted = {name: value for name in FILTERS if (value := request.non_empty(name)) is not None}
        wanted |= _as_auditor(request.caller)
        page = await self._entries.page(request, "grant", wanted, scope=_scope(request.caller))
        items = [entry.document for entry in page.data]
        headers = {"log-position": str(page.position)}
        return responses.json(responses.page(items, page.next_cursor), headers)

    async def read(self, request: Request) -> ASGIApp:
        """Read a grant, always current.

        Raises:
            NotFound: there is no such grant, or it was made neither by the caller nor for it.
            Damaged: the grant cannot be read, and was made by the caller.
        """
        try:
            versioned, position = await self._entries.one(request, "grant")
        except Damaged as error:
            if not meets(request.caller.scope.condition(Right.GRANT), placeholder_of(error)):
                raise NotFound.of("grant") from None
            raise
        if not _is_of(request.caller, versioned):
            raise NotFound.of("grant")
        shown = at_time(document(versioned), self._entries.clock())
        tag = responses.Tag(versioned.version, related=_etag_of_expiry(versioned.version, shown))
        return responses.read(request, shown, tag, position)

    async def revoke(self, request: Request) -> ASGIApp:
        """Revoke a grant, which continues to be shown, with the actor who has revoked it."""
        command = parse(RevokeGrant, request.body)
        message = request.message(f"grant/{request.path['id']}", command)
        return await send(request, self._bus, message, "grants")


def _etag_of_expiry(version: int, shown: Mapping[str, Any]) -> dict[str, int]:
    """A further part of the ETag of an expired grant, as no event records the expiry."""
    return {"expired": version} if shown["status"] == "expired" else {}


def _maker(caller: Caller) -> dict[str, Any]:
    """The reach of the maker of a grant, as members of the command."""
    if caller.scope.is_unlimited(Right.GRANT):
        return {}
    parties = caller.scope.parties(Right.GRANT)
    if not parties:
        raise Forbidden("Grants are made by the customer or the provider of what is granted.")
    within = as_json(caller.scope.condition(Right.GRANT))
    return {"within": within, **dict(reversed(parties))}


def _scope(caller: Caller) -> Condition:
    """The condition that the parties of grants have to meet for a caller to see them."""
    return EVERYTHING if _as_auditor(caller) else by_parties(caller.scope.condition(Right.GRANT))


def _as_auditor(caller: Caller) -> dict[str, str]:
    """The filter for an auditor, who sees only grants that were made for it; empty for other callers."""
    audits = AUDITING in caller.scope.reaches and Right.GRANT not in caller.rights
    return {"auditor": caller.subject} if audits else {}


def _is_of(caller: Caller, versioned: Versioned[Any]) -> bool:
    if AUDITING in caller.scope.reaches and versioned.state.auditor == caller.subject:
        return True
    return caller.scope.is_unlimited(Right.GRANT) or meets(
        caller.scope.condition(Right.GRANT), versioned
    )


def routes(handlers: GrantHandlers) -> tuple[Operation, ...]:
    """The operations of grants."""
    return (*_readings(handlers), _creation(handlers), _revocation(handlers))


def _readings(handlers: GrantHandlers) -> tuple[Operation, ...]:
    narrowed = (Parameter(name, "Only these") for name in FILTERS)
    return (
        Operation(
            "listGrants",
            "GET",
            "/grants",
            Right.READ_CATALOG,
            "List the grants that the caller made, or as an auditor reads by",
            handlers.list_all,
            answer=schemas.page_of(GRANT),
            parameters=(*narrowed, LIMIT, CURSOR, *FRESH),
            sends=responses.AS_OF,
        ),
        Operation(
            "readGrant",
            "GET",
            "/grants/{id}",
            Right.READ_CATALOG,
            "One grant, always current",
            handlers.read,
            answer=GRANT,
            parameters=FRESH,
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
    )


def _creation(handlers: GrantHandlers) -> Operation:
    return Operation(
        "createGrant",
        "POST",
        "/grants",
        Right.GRANT,
        "Let an auditor read executions of the caller's: by ids, an order, a service or a filter",
        handlers.create,
        body=GrantRequest,
        answer=GRANT,
        status=201,
        parameters=(DRY_RUN,),
        problems=(
            *("unknown-reference", "idempotency-key-reused"),
            *("version-mismatch", "outcome-unknown", "too-many-grants"),
        ),
        sends=(*responses.DONE, "Location"),
    )


def _revocation(handlers: GrantHandlers) -> Operation:
    return Operation(
        "revokeGrant",
        "DELETE",
        "/grants/{id}",
        Right.GRANT,
        "Revoke a grant: its auditor reads nothing more by it, and its streams end",
        handlers.revoke,
        body=RevokeGrant,
        answer=GRANT,
        parameters=(DRY_RUN,),
        sends=(*responses.DONE, "Location"),
    )
