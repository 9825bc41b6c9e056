"""The one table of all views."""

from __future__ import annotations

from domain.codec import Codec
from projections.analytics import Analytics
from projections.catalog import Catalog
from projections.executions import Executions
from projections.logs import Logs


def all_views(codec: Codec) -> tuple[Executions, Analytics, Catalog, Logs]:
    """Every view there is."""
    return Executions(codec), Analytics(), Catalog(codec), Logs()
