"""The webhooks of an execution: how the calls stand, and the secret that signs them."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import PAST
from api.web.reads.state_reader import ReadState, StateReader, state_response
from api.web.request import Request
from domain.errors import NotFound
from domain.eventlog.store import Store
from projections.deliveries.health import STATES, health_of
from projections.deliveries.secrets import shown_secret, signing_secret

TIME = {"type": "string", "format": "date-time"}
COUNT = {"type": "integer", "minimum": 0}
HEALTH = {
    "type": "object",
    "description": "How the calls stand; `last…` is of the last one, its latency in milliseconds",
    "required": ["state", "waiting", "givenUp", "attempts"],
    "properties": {
        "state": {"enum": list(STATES)},
        "waiting": COUNT,
        "givenUp": COUNT,
        "attempts": COUNT,
        "nextAt": TIME,
        "failingSince": TIME,
        "lastAt": TIME,
        "lastStatus": {"type": "integer"},
        "lastLatency": COUNT,
        "lastAnswer": {"type": "string"},
        "lastError": {"type": "string"},
    },
    "additionalProperties": False,
}
LIST = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "url", "events", "format"],
        "properties": {
            "id": {"type": "string"},
            "url": {"type": "string"},
            "events": {"type": "array", "items": {"type": "string"}},
            "headers": {"type": "object", "additionalProperties": {"const": "***"}},
            "format": {"enum": ["json", "slack"]},
            "health": HEALTH,
        },
        "additionalProperties": False,
    },
}
SECRET = {
    "type": "object",
    "required": ["secret"],
    "properties": {"secret": {"type": "string", "pattern": "^whsec_"}},
    "additionalProperties": False,
}


class WebhookHandlers:
    """Answers what readers and receivers may know of webhooks."""

    def __init__(self, reader: StateReader, store: Store) -> None:
        self._reader = reader
        self._store = store

    async def read(self, request: Request) -> ASGIApp:
        """All of them, with their health now, or as they were at `?version=` or `?at=`."""
        state = await self._reader.read(request)
        shown: list[dict[str, Any]] = state.document(steps=())["webhooks"]
        tag = responses.Tag(state.versioned.version)
        if state.moment is not None:
            return state_response(request, state, shown, tag)
        shown = await self._with_health(state, shown)
        return state_response(request, state, shown, tag, revalidated=False)

    async def secret(self, request: Request) -> ASGIApp:
        """The secret of one. Raises NotFound where there is no such webhook, or its key was destroyed."""
        state = await self._reader.read(request)
        stream, webhook = f"execution/{request.path['id']}", request.path["webhook"]
        key = (await self._store.keys([stream]))[stream]
        if key is None or all(hook.id != webhook for hook in state.versioned.state.webhooks):
            raise NotFound("This execution has no such webhook.")
        shown = {"secret": shown_secret(signing_secret(key, webhook))}
        return state_response(request, state, shown, revalidated=False)

    async def _with_health(
        self, state: ReadState, shown: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        if not shown:
            return shown
        async with self._store.reader() as connection:
            health = await health_of(connection, state.versioned.state.id)
        return [
            hook | ({"health": health[hook["id"]].document()} if hook["id"] in health else {})
            for hook in shown
        ]


def routes(handlers: WebhookHandlers) -> tuple[Operation, ...]:
    """The rows of webhooks."""
    return (
        Operation(
            "readWebhooks",
            "GET",
            "/executions/{id}/webhooks",
            Right.READ_EXECUTIONS,
            "Its webhooks, and how their calls stand",
            handlers.read,
            answer=LIST,
            parameters=PAST,
            sends=responses.PLACED,
            others=responses.NOT_MODIFIED,
        ),
        Operation(
            "readWebhookSecret",
            "GET",
            "/executions/{id}/webhooks/{webhook}/secret",
            Right.COMMAND_EXECUTIONS,
            "The secret that signs the calls of a webhook",
            handlers.secret,
            answer=SECRET,
            sends=responses.PLACED,
        ),
    )
