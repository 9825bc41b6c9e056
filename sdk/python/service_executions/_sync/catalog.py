"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from service_executions._sync.commands import create
from service_executions._sync.queries import Query
from service_executions._sync.transport import Transport
from service_executions.entries import Entry, Order
from service_executions.requests import post, read, segment
from service_executions.values import JSON, body

Kind = TypeVar("Kind", bound=Entry)


class Catalog(Generic[Kind]):
    """The entries of one kind."""

    def __init__(self, transport: Transport, path: str, model: type[Kind]) -> None:
        self._transport = transport
        self._path = path
        self._model = model

    def create(self, id: str, **members: Any) -> Kind:
        """Create an entry.

        Raises:
            AlreadyExists: the id is taken.
        """
        content = {"$id": id, **_members(members)}
        where = f"{self._path}/{segment(id)}"
        answer = create(self._transport, post(self._path, content), where)
        return self._model.model_validate_json(answer.content)

    def get(self, id: str) -> Kind:
        """Return an entry. Raises NotFound if there is none."""
        answer = self._transport.send(read(f"{self._path}/{segment(id)}"))
        return self._model.model_validate_json(answer.content)

    def list(self, **fields: Any) -> Query[Kind]:
        """Return all entries, or those with these fields."""
        request = read(self._path, fields, follows=True)
        return Query(self._transport, request, self._model.model_validate)


class Orders(Catalog[Order]):
    """The orders, which can also be confirmed and cancelled."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, "/orders", Order)

    def confirm(self, id: str, **members: Any) -> Order:
        """Confirm an order: its execution is created, and named by `execution`."""
        return self._command(id, "confirm", _members(members))

    def cancel(self, id: str, reason: str | None = None) -> Order:
        """Cancel an order; its executions continue."""
        return self._command(id, "cancel", body(reason=reason))

    def _command(self, id: str, command: str, members: JSON) -> Order:
        path = f"{self._path}/{segment(id)}/{command}"
        return Order.model_validate_json(self._transport.send(post(path, members)).content)


def _members(given: Mapping[str, Any]) -> JSON:
    """Return members as they are in JSON, with the id in place of an entry."""
    by_id = {name: value.id if isinstance(value, Entry) else value for name, value in given.items()}
    return body(**by_id)
