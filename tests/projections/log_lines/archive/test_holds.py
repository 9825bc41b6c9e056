"""The days that legal holds keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from projections.log_lines.archive.days import Day
from projections.log_lines.archive.holds import holds_of
from tests.support.past_lines import NOON, PastLines

pytestmark = pytest.mark.anyio


async def test_days_are_not_searched_if_no_hold_is_active(
    database_with_views: str, tmp_path: Path
) -> None:
    async with PastLines.opened(database_with_views, tmp_path) as past:
        await past.begin("e-1")
        await past.follow()
        day = Day(NOON.date(), "")
        checked = await holds_of(past.connection, past.store, day, "SELECT missing()")
        assert (checked.holds, checked.unknown) == ((), "")
