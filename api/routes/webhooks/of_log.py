"""Creates, changes, reads and removes webhooks of the whole log."""

from __future__ import annotations

from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.documents import schemas
from api.routes.catalog import entry_response, send
from api.routes.commands import NewId
from api.routes.webhooks.lookup import FoundWebhook, Webhooks
from api.routes.webhooks.schemas import WEBHOOK
from api.routes.webhooks.settings import changes_of, is_document
from api.web import responses
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import build, fields, parse
from api.web.input.command_members import prepare
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.request import Request
from domain import registry
from domain.catalog.webhook_commands import CreateWebhook, RemoveWebhook, UpdateWebhook
from domain.errors import Invalid, NotFound
from domain.eventlog.store import Store
from domain.execution.webhook_events import require_known
from domain.writer.command_bus import Bus
from projections.deliveries import requests
from projections.deliveries.health import health_member, health_of
from projections.executions import columns
from projections.query.parser import from_json
from projections.representations.catalog import hook_document
from projections.representations.client_json import plain_json
from workers.webhooks.vetting import Vetting

TYPES = tuple(event.type for event in registry.EVENTS)


class LogWebhookHandlers:
    """Handles the operations of webhooks of the whole log."""

    def __init__(
        self, bus: Bus, store: Store, webhooks: Webhooks, vetting: Vetting, new_id: NewId
    ) -> None:
        self._bus = bus
        self._store = store
        self._webhooks = webhooks
        self._vetting = vetting
        self._new_id = new_id

    async def create(self, request: Request) -> ASGIApp:
        """Create a webhook, and show its secret this once."""
        command = parse(CreateWebhook, request.body)
        _check(command)
        await self._vetting.require([("url", command.url)])
        if command.begins is not None:
            position = await self._webhooks.position(command.begins)
            command = command.model_copy(update={"begins": str(position)})
        # Not what was granted to an auditor, as a grant ends, and the scope of the webhook is stored.
        scope = request.caller.scope.filter(Right.READ_EVENTS, Right.MANAGE_WEBHOOKS)
        command = command.within(scope)
        message = request.message(f"webhook/{self._new_id('wh')}", command)
        if is_dry_run(request):
            return await dry_run_answer(request, self._bus, message)
        answer = await self._bus.send(message)
        identity = answer.versioned.state.id
        known = FoundWebhook(identity, None, answer.versioned)
        secret = await self._webhooks.secret(known, answer.versioned.state.generation)
        return entry_response(answer, f"webhooks/{identity}", {"secret": secret})

    async def update(self, request: Request) -> ASGIApp:
        """Change settings of a webhook. A document that was read before may be sent back whole."""
        given = fields(request.body)
        if is_document(given):
            if (hook := (await self._webhooks.find(request)).hook) is None:
                raise NotFound.of("webhook")
            given = changes_of(given, hook)
        prepare(UpdateWebhook, given)
        command = build(UpdateWebhook, given)
        _check(command)
        if command.url is not None:
            await self._vetting.require([("url", command.url)])
        message = request.message(f"webhook/{request.path['webhook']}", command)
        return await send(request, self._bus, message, "webhooks")

    async def remove(self, request: Request) -> ASGIApp:
        """Remove a webhook."""
        identity = request.path["webhook"]
        message = request.message(f"webhook/{identity}", RemoveWebhook())
        return entry_response(await self._bus.send(message), f"webhooks/{identity}")

    async def read(self, request: Request) -> ASGIApp:
        """Read a webhook, always current, with its health."""
        known = await self._webhooks.find(request)
        async with self._store.reader() as connection:
            health = (await health_of(connection, [known.webhook])).get(known.webhook)
        shown = health_member(health)
        if known.hook is None:  # a webhook of an execution, without events of its own
            execution = await self._store.load(f"execution/{known.execution}")
            assert execution is not None
            as_of = {"version": 0, "position": execution.position}
            first = {"$type": "Webhook", "$id": known.webhook, "execution": known.execution}
            return responses.json({**first, "status": "active", **as_of, **shown})
        document = hook_document(known.hook)
        if known.hook.state.disabled and not await self._webhooks.is_disabled(request, known):
            document = {**document, "status": "active"}
            del document["disabledBecause"]
        tag = responses.Tag(known.hook.version, beside=shown)
        return responses.read(request, {**document, **shown}, tag, known.hook.position)

    async def list(self, request: Request) -> ASGIApp:
        """Answer a page of webhooks, in the order of their ids, each with its health."""
        limit = request.integer("limit", 1, 500) or 50
        position = await self._webhooks.wait(request)
        async with self._store.reader() as connection:
            after = request.parameter("cursor") or ""
            ids = await requests.of_log(connection, after, limit + 1, _maker(request.caller))
            health = await health_of(connection, ids[:limit])
        states = await self._store.load_all(f"webhook/{identity}" for identity in ids[:limit])
        items = [
            plain_json(
                {**hook_document(versioned), **health_member(health.get(versioned.state.id))}
            )
            for versioned in states.values()
            if not versioned.state.removed
        ]
        following = ids[limit - 1] if len(ids) > limit else None
        return responses.json(responses.page(items, following), {"log-position": str(position)})


def _maker(caller: Caller) -> str | None:
    """The maker whose webhooks a caller may see; None for one who may see all."""
    return None if caller.scope.is_unlimited(Right.MANAGE_WEBHOOKS) else caller.name


def _check(command: CreateWebhook | UpdateWebhook) -> None:
    """Raises Invalid where a name is of no event, or the filter is not valid."""
    try:
        require_known(command.events or (), TYPES)
    except ValueError as error:
        raise Invalid.field("events", str(error)) from None
    if command.filter is not None:
        from_json(command.filter, columns.field, "filter")


def routes(handlers: LogWebhookHandlers) -> tuple[Operation, ...]:
    """The operations of webhooks of the whole log."""
    return (*_collection(handlers), *_single(handlers))


def _collection(handlers: LogWebhookHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "listWebhooks",
            "GET",
            "/webhooks",
            Right.MANAGE_WEBHOOKS,
            "The webhooks of the whole log, with their health",
            handlers.list,
            answer=schemas.page_of(WEBHOOK),
            sends=responses.AS_OF,
            parameters=(LIMIT, CURSOR, *FRESH),
        ),
        Operation(
            "createWebhook",
            "POST",
            "/webhooks",
            Right.MANAGE_WEBHOOKS,
            "Create a webhook for all events that its maker may see; its secret is shown this once",
            handlers.create,
            body=CreateWebhook,
            answer=WEBHOOK,
            status=201,
            parameters=(DRY_RUN,),
            sends=(*responses.DONE, "Location"),
        ),
    )


def _single(handlers: LogWebhookHandlers) -> tuple[Operation, ...]:
    path = "/webhooks/{webhook}"
    return (
        Operation(
            "readWebhook",
            "GET",
            path,
            Right.MANAGE_WEBHOOKS,
            "One webhook, with its health",
            handlers.read,
            answer=WEBHOOK,
            problems=("not-found",),
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
        Operation(
            "updateWebhook",
            "PATCH",
            path,
            Right.MANAGE_WEBHOOKS,
            "Change a webhook of the whole log; what is left out stays, and it is called again",
            handlers.update,
            body=UpdateWebhook,
            answer=WEBHOOK,
            parameters=(DRY_RUN,),
            problems=("not-found", "illegal-transition", "read-only"),
            sends=(*responses.DONE, "Location"),
        ),
        Operation(
            "removeWebhook",
            "DELETE",
            path,
            Right.MANAGE_WEBHOOKS,
            "Remove a webhook of the whole log",
            handlers.remove,
            answer=WEBHOOK,
            problems=("not-found", "illegal-transition"),
            sends=(*responses.DONE, "Location"),
        ),
    )
