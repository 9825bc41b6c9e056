"""Reads the webhooks of an execution, with their health."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.routes.webhooks.schemas import OF_EXECUTION
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import PAST
from api.web.reads.state_reader import ReadState, StateReader, state_response
from api.web.request import Request
from domain.eventlog.store import Store
from projections.deliveries.health import health_member, health_of
from projections.deliveries.hooks import key_of


class WebhookHandlers:
    """Handles the operation of an execution's webhooks."""

    def __init__(self, reader: StateReader, store: Store) -> None:
        self._reader = reader
        self._store = store

    async def read(self, request: Request) -> ASGIApp:
        """Answer the webhooks with their health now, or without it at `?version=` or `?at=`."""
        state = await self._reader.read(request)
        shown: list[dict[str, Any]] = state.document(steps=())["webhooks"]
        version = state.versioned.version
        if state.moment is not None:
            return state_response(request, state, shown, responses.Tag(version))
        health = await self._health(state, shown)
        shown = [hook | state for hook, state in zip(shown, health, strict=True)]
        return state_response(request, state, shown, responses.Tag(version, beside=health or None))

    async def _health(self, state: ReadState, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not shown:
            return []
        async with self._store.reader() as connection:
            keys = [key_of(state.versioned.state.id, hook["id"]) for hook in shown]
            health = await health_of(connection, keys)
        return [health_member(health.get(key)) for key in keys]


def routes(handlers: WebhookHandlers) -> tuple[Operation, ...]:
    """The operations of webhooks."""
    return (
        Operation(
            "readWebhooks",
            "GET",
            "/executions/{id}/webhooks",
            Right.READ_EXECUTIONS,
            "The webhooks of an execution, with their health",
            handlers.read,
            answer=OF_EXECUTION,
            parameters=PAST,
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
    )
