"""Makes the operations of retention and erasure, with their handlers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from api.routes.commands import NewId
from api.routes.retention import erase, erase_customer, preview
from api.web.operation import Operation
from api.web.reads.consistency import Consistency
from domain.eventlog.store import Store
from domain.writer.command_bus import Bus
from projections.catalog import Catalog
from projections.executions.projection import Executions


def routes(
    bus: Bus,
    store: Store,
    executions: Executions,
    catalog: Catalog,
    consistency: Consistency,
    *,
    log_days: int,
    access_days: int,
    new_id: NewId,
    clock: Callable[[], datetime],
) -> tuple[Operation, ...]:
    """The operations of erasures and of the preview of retention."""
    customers = erase_customer.CustomerErasureHandlers(
        bus, store, executions, catalog, consistency, new_id=new_id, clock=clock
    )
    return (
        *erase.routes(erase.ErasureHandlers(bus, store, consistency)),
        *erase_customer.routes(customers),
        *preview.routes(preview.PreviewHandlers(store, log_days, access_days, clock=clock)),
    )
