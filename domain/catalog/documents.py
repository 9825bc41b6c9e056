"""The small aggregates as clients see them."""

from __future__ import annotations

from typing import Any

from domain.catalog import order, service, user, workflow
from domain.kernel import Held


def document(held: Held[Any]) -> dict[str, Any]:
    """The service, workflow, order or user, whichever it is."""
    match held.state:
        case service.Service():
            return service.document(held)
        case workflow.Workflow():
            return workflow.document(held)
        case order.Order():
            return order.document(held)
        case user.User():
            return user.document(held)
        case other:
            raise TypeError(f"{type(other).__name__} is not of the catalog")
