"""Operations as Starlette's routes."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

from api.web.admission import Door
from api.web.body import Bodies
from api.web.endpoint import Endpoint
from api.web.operation import Operation
from api.web.path_segments import SEGMENT


def routes(door: Door, bodies: Bodies, operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route a path, in the order of the rows."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        # Ids need no decoding; a step may be called anything.
        path = operation.path.replace("{step}", f"{{step:{SEGMENT}}}")
        paths.setdefault(path, []).append(operation)
    return [Route(path, Endpoint(door, bodies, rows)) for path, rows in paths.items()]
