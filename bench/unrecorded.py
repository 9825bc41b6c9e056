"""The program `executions` without the access log, to measure its cost. It is not a setting of the product."""

from __future__ import annotations

from api.cli.main import main
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import Access


async def skip_recording(self: AccessLog, access: Access) -> None:
    """Record nothing."""


AccessLog.record = skip_recording  # type: ignore[method-assign]
if __name__ == "__main__":
    main()
