"""The table of the kinds of catalog entries, with their filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, get_args

from api.access.rights import Right
from api.web.operation import Parameter
from api.web.request import Request
from domain.access.key import KeyRole, KeyStatus
from domain.catalog.order import OrderStatus
from domain.catalog.user import Kind as UserKind
from domain.jobs.job import JobCommand, JobStatus
from domain.retention.hold import HoldStatus
from domain.types import Priority


class CatalogKind(NamedTuple):
    """One kind of catalog entry: its path, its creating command, the filters of its list, and the right to read it.

    A filter has the values that it may have; none where it may have any.
    """

    path: str
    create: str
    filters: Mapping[str, Sequence[str]]
    right: Right = Right.READ_CATALOG

    def filters_of(self, request: Request) -> dict[str, str]:
        """The filters in a request.

        Raises:
            Invalid: a value is empty, or is not one of the filter's values.
        """
        found = {
            name: request.choice(name, *values) if values else request.non_empty(name)
            for name, values in self.filters.items()
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def parameters(self) -> Iterator[Parameter]:
        """The query parameters of the filters."""
        for name, values in self.filters.items():
            enum = {"enum": list(values)} if values else {}
            yield Parameter(name, "Only entries with this value", {"type": "string", **enum})


KINDS: Mapping[str, CatalogKind] = {
    "service": CatalogKind(
        "services", "createService", {"name": (), "provider": (), "workflow": ()}
    ),
    "workflow": CatalogKind("workflows", "createWorkflow", {"name": ()}),
    "order": CatalogKind(
        "orders",
        "createOrder",
        {"service": (), "customer": (), "status": list(OrderStatus), "priority": list(Priority)},
    ),
    "user": CatalogKind("users", "createUser", {"name": (), "kind": get_args(UserKind)}),
    "hold": CatalogKind(
        "holds",
        "placeHold",
        {"status": list(HoldStatus), "executions": (), "order": (), "service": (), "customer": ()},
        Right.MANAGE_HOLDS,
    ),
}
JOB = CatalogKind(
    "jobs",
    "createJob",
    {"command": get_args(JobCommand), "status": list(JobStatus)},
    Right.READ_EXECUTIONS,
)
"""Jobs, which are stored as entries of the catalog; their operations are in `engine/jobs.py`."""
KEY = CatalogKind(
    "keys",
    "createKey",
    {"status": list(KeyStatus), "role": get_args(KeyRole), "party": (), "name": ()},
)
"""API keys, which are stored as entries of the catalog; their operations are in `access/keys.py`."""
