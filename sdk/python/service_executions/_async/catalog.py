"""The catalog: users, services, workflows and orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from service_executions._async.commands import create
from service_executions._async.queries import AsyncQuery
from service_executions._async.transport import AsyncTransport
from service_executions.entries import Entry, Order
from service_executions.requests import post, read, segment
from service_executions.values import JSON, body

Kind = TypeVar("Kind", bound=Entry)


class AsyncCatalog(Generic[Kind]):
    """The entries of one kind."""

    def __init__(self, transport: AsyncTransport, path: str, model: type[Kind]) -> None:
        self._transport = transport
        self._path = path
        self._model = model

    async def create(self, id: str, **members: Any) -> Kind:
        """Create an entry.

        Raises:
            AlreadyExists: the id is taken.
        """
        content = {"$id": id, **_members(members)}
        where = f"{self._path}/{segment(id)}"
        answer = await create(self._transport, post(self._path, content), where)
        return self._model.model_validate_json(answer.content)

    async def get(self, id: str) -> Kind:
        """Return an entry. Raises NotFound if there is none."""
        answer = await self._transport.send(read(f"{self._path}/{segment(id)}"))
        return self._model.model_validate_json(answer.content)

    def list(self, **fields: Any) -> AsyncQuery[Kind]:
        """Return all entries, or those with these fields."""
        request = read(self._path, fields, follows=True)
        return AsyncQuery(self._transport, request, self._model.model_validate)


class AsyncOrders(AsyncCatalog[Order]):
    """The orders, which can also be confirmed and cancelled."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport, "/orders", Order)

    async def confirm(self, id: str, **members: Any) -> Order:
        """Confirm an order: its execution is created, and named by `execution`."""
        return await self._command(id, "confirm", _members(members))

    async def cancel(self, id: str, reason: str | None = None) -> Order:
        """Cancel an order; its executions continue."""
        return await self._command(id, "cancel", body(reason=reason))

    async def _command(self, id: str, command: str, members: JSON) -> Order:
        path = f"{self._path}/{segment(id)}/{command}"
        return Order.model_validate_json((await self._transport.send(post(path, members))).content)


def _members(given: Mapping[str, Any]) -> JSON:
    """Return members as they are in JSON, with the id in place of an entry."""
    by_id = {name: value.id if isinstance(value, Entry) else value for name, value in given.items()}
    return body(**by_id)
