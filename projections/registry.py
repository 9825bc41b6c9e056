"""The table of all projections."""

from __future__ import annotations

from domain.eventlog.codec import Codec
from projections.analytics.projection import Analytics
from projections.catalog import Catalog
from projections.claims.projection import Claims
from projections.deliveries.projection import Deliveries
from projections.executions.projection import Executions
from projections.log_lines.projection import LogLineProjection
from projections.timers.projection import Timers

Views = tuple[Executions, Analytics, Catalog, LogLineProjection, Timers, Deliveries, Claims]


def all_projections(codec: Codec) -> Views:
    """Return a new instance of every view."""
    return (
        Executions(codec),
        Analytics(),
        Catalog(codec),
        LogLineProjection(),
        Timers(),
        Deliveries(),
        Claims(),
    )
