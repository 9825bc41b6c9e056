"""Services, workflows, orders and users: what executions refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes import history
from api.routes.commands import creation
from api.web import responses
from api.web.command_body import parsed
from api.web.consistency import MIN_POSITION, fresh, look, reached
from api.web.dry_run import DRY_RUN, is_dry_run, rehearsed
from api.web.ids import checked_new_id
from api.web.operation import Handler, Operation, Parameter
from api.web.request import Request
from domain import registry
from domain.catalog.confirm_order import ConfirmOrder
from domain.catalog.order import CancelOrder
from domain.errors import NotFound
from domain.eventlog.codec import open_json
from domain.eventlog.states import Moment
from domain.writer.command_bus import Answer
from projections.representations.catalog import document


class Kind(NamedTuple):
    """One kind of catalog entry: its path, its word, and what it is listed by."""

    path: str
    create: str
    filters: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "service": Kind("services", "createService", ("name", "provider", "workflow")),
    "workflow": Kind("workflows", "createWorkflow", ("name",)),
    "order": Kind("orders", "createOrder", ("service", "customer", "status", "priority")),
    "user": Kind("users", "createUser", ("name", "kind")),
}


SEALED_KINDS = frozenset({"order"})
"""Those that have sealed fields, and so a key."""


async def loaded(
    request: Request, streams: Iterable[str], moment: Moment | None = None
) -> dict[str, dict[str, Any]]:
    """Those of the entries that exist, or existed at a moment, as clients see them, by stream."""
    found = await request.system.store.load_all(streams, moment)
    return {stream: document(held) for stream, held in found.items()}


def _answered(answer: Answer, location: str) -> ASGIApp:
    held = answer.held
    headers = {
        "etag": f'"{held.version}"',
        "log-position": str(held.position),
        "location": f"/api/{location}",
    }
    if answer.replayed:
        headers["idempotency-replayed"] = "true"
    return responses.json(document(held), headers, 201 if answer.created else 200)


def creating(kind: str) -> Handler:
    """The handler that makes an entry of a kind."""
    command = registry.COMMANDS[kind][KINDS[kind].create]

    async def handle(request: Request) -> ASGIApp:
        identity, wish = creation(request, command, kind)
        message = request.message(f"{kind}/{identity}", wish)
        if is_dry_run(request):
            return await rehearsed(request, message)
        answer = await request.system.bus.send(message)  # a replayed one has the id made at first
        return _answered(answer, f"{KINDS[kind].path}/{answer.held.state.id}")

    return handle


def reading(kind: str) -> Handler:
    """The handler that shows one entry, always current."""

    async def handle(request: Request) -> ASGIApp:
        reading = await look(
            request, lambda: request.system.store.look(f"{kind}/{request.path['id']}")
        )
        if (held := reading.held) is None:
            raise NotFound(f"There is no such {kind}.")
        tag = responses.Tag(held.version)
        return responses.read(request, document(held), tag, reading.position)

    return handle


def listing(kind: str) -> Handler:
    """The handler that lists entries of a kind, a page of them."""
    known = KINDS[kind].filters

    async def handle(request: Request) -> ASGIApp:
        await fresh(request, "catalog")
        wanted = {name: value for name in known if (value := request.parameter(name)) is not None}
        async with request.system.store.reader() as connection:
            page = await request.system.catalog.list(
                connection,
                kind,
                wanted,
                limit=request.whole("limit", 1, 500) or 50,
                cursor=request.parameter("cursor"),
            )
        reached(request, page.position)
        streams = [f"{kind}/{entry.id}" for entry in page.data]
        keys = await request.system.store.keys(streams) if kind in SEALED_KINDS else {}
        items = [
            open_json(entry.document, keys.get(stream))
            for entry, stream in zip(page.data, streams, strict=True)
        ]
        headers = {"log-position": str(page.position)}
        return responses.json(responses.page(items, page.next_cursor), headers)

    return handle


async def confirm(request: Request) -> ASGIApp:
    """Confirm an order: its execution begins. The order is answered, the execution is the Location."""
    wish = parsed(ConfirmOrder, request.body)
    if wish.execution is not None:
        checked_new_id(wish.execution, "execution")
    message = request.message(f"order/{request.path['id']}", wish)
    if is_dry_run(request):
        return await rehearsed(request, message)
    answer = await request.system.bus.send(message)
    return _answered(answer, f"executions/{answer.held.state.execution}")


async def cancel(request: Request) -> ASGIApp:
    """Cancel an order; its executions are untouched."""
    message = request.message(f"order/{request.path['id']}", parsed(CancelOrder, request.body))
    if is_dry_run(request):
        return await rehearsed(request, message)
    answer = await request.system.bus.send(message)
    return _answered(answer, f"orders/{request.path['id']}")


def _operations(kind: str) -> tuple[Operation, ...]:
    row, title, shown = KINDS[kind], kind.capitalize(), schemas.ENTRY
    return (
        Operation(
            f"list{title}s",
            "GET",
            f"/{row.path}",
            Right.READ_CATALOG,
            f"List {row.path}",
            listing(kind),
            answer=schemas.page_of(shown),
            sends=responses.AS_OF,
            parameters=(
                *(Parameter(name, "Only these") for name in row.filters),
                history.LIMIT,
                history.CURSOR,
                MIN_POSITION,
            ),
        ),
        Operation(
            row.create,
            "POST",
            f"/{row.path}",
            Right.WRITE_CATALOG,
            f"Create: {kind}",
            creating(kind),
            body=registry.COMMANDS[kind][row.create],
            answer=shown,
            status=201,
            parameters=(DRY_RUN,),
            problems=("already-exists", "unknown-reference"),
            sends=(*responses.DONE, "Location"),
        ),
        Operation(
            f"read{title}Entry",
            "GET",
            f"/{row.path}/{{id}}",
            Right.READ_CATALOG,
            f"One {kind}, always current",
            reading(kind),
            answer=shown,
            parameters=(MIN_POSITION,),
            sends=responses.PLACED,
            others=responses.NOT_MODIFIED,
        ),
    )


OPERATIONS = (
    *(operation for kind in KINDS for operation in _operations(kind)),
    Operation(
        "confirmOrder",
        "POST",
        "/orders/{id}/confirm",
        Right.WRITE_CATALOG,
        "Confirm an order, which creates its execution",
        confirm,
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
        Right.WRITE_CATALOG,
        "Cancel an order; its executions are untouched",
        cancel,
        body=CancelOrder,
        answer=schemas.ENTRY,
        parameters=(DRY_RUN,),
        problems=("illegal-transition",),
        sends=(*responses.DONE, "Location"),
    ),
)
