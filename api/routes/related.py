"""What an execution refers to: its order, its service and so on, as ids or whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp

from api.routes.catalog import loaded
from api.routes.history import answered, read_state
from api.web import responses
from api.web.request import Request
from domain.errors import Invalid, NotFound
from domain.eventlog.states import Moment

RELATIONS = {
    "order": "order",
    "service": "service",
    "workflow": "workflow",
    "customer": "user",
    "provider": "user",
}


def relation(name: str) -> Callable[[Request], Any]:
    """The handler of one relation: the object behind the id, as it was at the same moment."""

    async def handle(request: Request) -> ASGIApp:
        seen = await read_state(request)
        document = seen.document(steps=())
        versions = await expand(request, [document], [name], seen.moment)
        if not versions:
            raise NotFound(f"This execution has no {name}.")
        return answered(request, seen, document[name], responses.Tag(versions[name]))

    return handle


def expanded(wanted: list[str]) -> list[str]:
    """The relations to show whole. Raises Invalid where one is none."""
    for name in wanted:
        if name not in RELATIONS:
            raise Invalid.field(
                "expand", f"must be of {', '.join(RELATIONS)}, but has `{name[:100]}`"
            )
    return wanted


async def expand(
    request: Request,
    documents: Sequence[dict[str, Any]],
    names: Sequence[str],
    moment: Moment | None = None,
) -> dict[str, int]:
    """Put objects in the place of ids, all of them read in one go; an id of nothing stays.

    Answers the version of each relation of the last document that was put there.
    """
    streams = {f"{RELATIONS[n]}/{item[n]}" for n in names for item in documents if n in item}
    entries = await loaded(request, streams, moment) if streams else {}
    versions: dict[str, int] = {}
    for item in documents:
        for name in names:
            entry = entries.get(f"{RELATIONS[name]}/{item[name]}") if name in item else None
            if entry is not None:
                item[name], versions[name] = entry, entry["version"]
    return versions
