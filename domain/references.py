"""What one aggregate may ask about another that it names."""

from __future__ import annotations

from typing import Any

from domain.errors import UnknownReference
from domain.model import Context


def referred(context: Context, field: str, kind: str, identity: str) -> Any:
    """The state of the aggregate that `field` of a command names.

    Raises:
        UnknownReference: there is no such aggregate.
    """
    state = context.state(f"{kind}/{identity}")
    if state is None:
        raise UnknownReference(f"There is no {kind} `{identity}`.", field=field)
    return state
