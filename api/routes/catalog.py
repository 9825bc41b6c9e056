"""Services, workflows, orders and users, which executions refer to; and legal holds of executions."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import COMMANDS
from api.cells.directory import Directory
from api.client.ids import parse_new_id
from api.documents import schemas
from api.routes.catalog_kinds import JOB, KINDS
from api.routes.commands import creation
from api.web import responses
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import parse
from api.web.operation import Handler, Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.entries import Entries
from api.web.request import Request
from domain import registry
from domain.catalog.confirm_order import ConfirmOrder
from domain.catalog.order import CancelOrder
from domain.errors import NotFound
from domain.retention.hold import ReleaseHold
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message
from projections.query.ast import EVERYTHING, Condition
from projections.query.matcher import by_parties
from projections.representations.catalog import document
from projections.representations.client_json import open_and_mark

SEALED_KINDS = frozenset({"order", "job"})
"""The kinds with sealed fields, and so with a data key."""


class CatalogHandlers:
    """Handles the operations of the entries of the catalog."""

    def __init__(self, bus: Bus, entries: Entries, directory: Directory) -> None:
        self._bus = bus
        self._entries = entries
        self._directory = directory

    def creating(self, kind: str) -> Handler:
        """The handler that creates an entry of a kind."""
        command = registry.COMMANDS[kind][KINDS[kind].create]

        async def handle(request: Request) -> ASGIApp:
            identity, parsed_command = creation(request, command, kind, self._directory)
            message = request.message(f"{kind}/{identity}", parsed_command)
            return await send(request, self._bus, message, KINDS[kind].path)

        return handle

    def reading(self, kind: str) -> Handler:
        """The handler that reads an entry of a kind, always current."""

        async def handle(request: Request) -> ASGIApp:
            ids = _ids(kind, request.caller)
            if ids is not None and request.path["id"] not in ids:
                raise NotFound.of(kind)
            versioned, position = await self._entries.one(request, kind)
            tag = responses.Tag(versioned.version)
            return responses.read(request, document(versioned), tag, position)

        return handle

    def listing(self, kind: str) -> Handler:
        """The handler that answers a page of entries of a kind."""
        listed = {**KINDS, "job": JOB}[kind]

        async def handle(request: Request) -> ASGIApp:
            wanted, caller = listed.filters_of(request), request.caller
            if kind == "job" and not caller.scope.is_unlimited(listed.right):
                wanted["createdBy"] = caller.name
            page = await self._entries.page(
                request, kind, wanted, scope=_scope(kind, caller), ids=_ids(kind, caller)
            )
            streams = [f"{kind}/{entry.id}" for entry in page.data]
            keys = await self._entries.store.keys(streams) if kind in SEALED_KINDS else {}
            items = [
                open_and_mark(entry.document, keys.get(stream))
                for entry, stream in zip(page.data, streams, strict=True)
            ]
            headers = {"log-position": str(page.position)}
            return responses.json(responses.page(items, page.next_cursor), headers)

        return handle

    async def confirm(self, request: Request) -> ASGIApp:
        """Confirm an order, which creates its execution. Answer the order; Location is the execution."""
        parsed_command = parse(ConfirmOrder, request.body)
        if parsed_command.execution is not None:
            self._directory.require_own(parse_new_id(parsed_command.execution, "execution"))
        message = request.message(f"order/{request.path['id']}", parsed_command)
        return await send(request, self._bus, message, "executions", "execution")

    async def cancel(self, request: Request) -> ASGIApp:
        """Cancel an order; its executions are untouched."""
        message = request.message(f"order/{request.path['id']}", parse(CancelOrder, request.body))
        return await send(request, self._bus, message, "orders")

    async def release(self, request: Request) -> ASGIApp:
        """Release a hold, which continues to be shown, with the reason and the actor."""
        message = request.message(f"hold/{request.path['id']}", parse(ReleaseHold, request.body))
        return await send(request, self._bus, message, "holds")


def _scope(kind: str, caller: Caller) -> Condition:
    """The condition of entries that a caller may see: of orders, those of its parties."""
    return by_parties(caller.scope.condition(KINDS[kind].right)) if kind == "order" else EVERYTHING


def _ids(kind: str, caller: Caller) -> frozenset[str] | None:
    """The ids of the only entries of a kind that a caller may see: of users, itself. None for all entries."""
    if kind != "user" or caller.scope.is_unlimited(KINDS[kind].right):
        return None
    return caller.scope.names(KINDS[kind].right)


async def send(
    request: Request, bus: Bus, message: Message, path: str, member: str = "id"
) -> ASGIApp:
    """Send a command to an entry, or only try it (`?dryRun=true`), and return the answer.

    Location is below `path`, at the id in a `member` of the state: after a repetition, that of the first request.
    """
    if is_dry_run(request):
        return await dry_run_answer(request, bus, message)
    answer = await bus.send(message)
    return entry_response(answer, f"{path}/{getattr(answer.versioned.state, member)}")


def entry_response(
    answer: Answer,
    location: str,
    more: Mapping[str, object] | None = None,
    status: int | None = None,
) -> ASGIApp:
    """The response to a command to an entry at a location: the entry, and `more` members.

    The default `status` is 201 where the command has created the entry, else 200.
    """
    versioned = answer.versioned
    headers = {
        "etag": f'"{versioned.version}"',
        "log-position": str(versioned.position),
        "location": f"/api/{location}",
    }
    if answer.replayed:
        headers["idempotency-replayed"] = "true"
    shown = {**document(versioned), **(more or {})}
    return responses.json(shown, headers, status or (201 if answer.created else 200))


def routes(handlers: CatalogHandlers) -> tuple[Operation, ...]:
    """The operations of all kinds of entries, of orders and of holds."""
    return (
        *(row(handlers, kind) for kind in KINDS for row in (_list, _creation, _entry)),
        *_order_rows(handlers),
        Operation(
            "releaseHold",
            "DELETE",
            "/holds/{id}",
            COMMANDS["releaseHold"],
            "Release a legal hold: what it kept may be archived again",
            handlers.release,
            body=ReleaseHold,
            answer=schemas.ENTRY,
            parameters=(DRY_RUN,),
            problems=("illegal-transition",),
            sends=(*responses.DONE, "Location"),
        ),
    )


def _order_rows(handlers: CatalogHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "confirmOrder",
            "POST",
            "/orders/{id}/confirm",
            COMMANDS["confirm"],
            "Confirm an order, which creates its execution",
            handlers.confirm,
            body=ConfirmOrder,
            answer=schemas.ENTRY,
            parameters=(DRY_RUN,),
            problems=("already-exists", "illegal-transition", "unknown-reference"),
            sends=(*responses.DONE, "Location"),
        ),
        Operation(
            "cancelOrder",
            "POST",
            "/orders/{id}/cancel",
            COMMANDS["cancelOrder"],
            "Cancel an order; its executions are untouched",
            handlers.cancel,
            body=CancelOrder,
            answer=schemas.ENTRY,
            parameters=(DRY_RUN,),
            problems=("illegal-transition",),
            sends=(*responses.DONE, "Location"),
        ),
    )


def _list(handlers: CatalogHandlers, kind: str) -> Operation:
    row = KINDS[kind]
    return Operation(
        f"list{kind.capitalize()}s",
        "GET",
        f"/{row.path}",
        row.right,
        f"List {row.path}",
        handlers.listing(kind),
        answer=schemas.page_of(schemas.ENTRY),
        sends=responses.AS_OF,
        parameters=(
            *row.parameters,
            LIMIT,
            CURSOR,
            *FRESH,
        ),
    )


def _creation(handlers: CatalogHandlers, kind: str) -> Operation:
    row = KINDS[kind]
    return Operation(
        row.create,
        "POST",
        f"/{row.path}",
        COMMANDS[row.create],
        f"Create: {kind}",
        handlers.creating(kind),
        body=registry.COMMANDS[kind][row.create],
        answer=schemas.ENTRY,
        status=201,
        parameters=(DRY_RUN,),
        problems=("already-exists", "unknown-reference"),
        sends=(*responses.DONE, "Location"),
    )


def _entry(handlers: CatalogHandlers, kind: str) -> Operation:
    return Operation(
        f"read{kind.capitalize()}Entry",
        "GET",
        f"/{KINDS[kind].path}/{{id}}",
        KINDS[kind].right,
        f"One {kind}, always current",
        handlers.reading(kind),
        answer=schemas.ENTRY,
        parameters=FRESH,
        sends=responses.VERSIONED,
        others=responses.NOT_MODIFIED,
    )
