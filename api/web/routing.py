"""Operations as Starlette's routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from api.web.endpoint import Endpoint
from api.web.operation import Operation
from api.web.path_segments import SEGMENT

if TYPE_CHECKING:
    from api.app import System


def routes(system: System, operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route a path, in the order of the rows."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        # Ids need no decoding; a step may be called anything.
        path = operation.path.replace("{step}", f"{{step:{SEGMENT}}}")
        paths.setdefault(path, []).append(operation)
    return [Route(path, Endpoint(system, rows)) for path, rows in paths.items()]
