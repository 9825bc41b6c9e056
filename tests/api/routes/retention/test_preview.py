"""`GET /retention/preview`: which days would be removed at a time, and which a hold keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from api.routes.retention import preview as preview_module
from api.routes.retention.preview import PreviewHandlers
from domain.retention.hold import PlaceHold
from projections.log_lines.archive.days import Day
from projections.log_lines.archive.holds import OF_READS, TOO_LONG
from tests.support.api_client import Executions, ok, refused
from tests.support.past_lines import NOON
from tests.support.past_reads import PastReads

TODAY = datetime.now(UTC).replace(hour=12)


def read_preview(api: httpx.Client, days: int, kind: str, day: str) -> dict[str, Any]:
    """The preview in so many days, once the views are far enough to say what holds keep of a day of this kind."""
    end = monotonic() + 20
    while True:
        at = (TODAY + timedelta(days=days)).isoformat()
        shown: dict[str, Any] = ok(api.get("/retention/preview", params={"at": at}))
        if (day, "unknown") not in {(each["day"], each["outcome"]) for each in shown[kind]}:
            return shown
        assert monotonic() < end, shown
        sleep(0.05)


def outcomes(shown: dict[str, Any]) -> dict[str, str]:
    """The outcome of each day of log lines."""
    return {each["day"]: each["outcome"] for each in shown["days"]}


def test_day_of_log_lines_is_removed_after_its_retention_unless_held(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    executions.tell(running_execution, "logs", level="info", message="hello")
    day = str(datetime.now(UTC).date())
    assert day not in outcomes(read_preview(api, 30, "days", day))
    assert outcomes(read_preview(api, 32, "days", day))[day] == "archived"
    asked = {"executions": [running_execution], "reason": "Audit"}
    placed = api.post("/holds", json=asked)
    hold = ok(placed)["$id"]
    ok(api.get("/holds", params={"minPosition": placed.headers["log-position"]}))
    shown = read_preview(api, 32, "days", day)
    [found] = [each for each in shown["days"] if each["day"] == day]
    assert (found["outcome"], found["holds"]) == ("kept", [hold])
    [named] = [each for each in shown["holds"] if each["hold"] == hold]
    assert (named["executions"], named["days"]) == ([running_execution], [day])
    assert shown["logDays"] == 30


def test_day_of_the_access_log_is_removed_after_its_retention_unless_held(
    api: httpx.Client, running_execution: str
) -> None:
    ok(api.get(f"/executions/{running_execution}"))
    day = str(datetime.now(UTC).date())

    def read(days: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        shown = read_preview(api, days, "accessDays", day)
        of_days = {each["day"]: each for each in shown["accessDays"]}
        return of_days.get(day, {}), shown["holds"]

    assert read(3_650)[0] == {}
    assert read(3_652)[0] == {"day": day, "outcome": "retired"}
    placed = api.post("/holds", json={"executions": [running_execution], "reason": "Audit"})
    ok(api.get("/holds", params={"minPosition": placed.headers["log-position"]}))
    of_day, holds = read(3_652)
    assert of_day == {"day": day, "outcome": "kept", "holds": [ok(placed)["$id"]]}
    assert day in next(each["accessDays"] for each in holds if each["hold"] == ok(placed)["$id"])


def test_invalid_time_is_refused(api: httpx.Client) -> None:
    problem = refused(api.get("/retention/preview", params={"at": "soon"}), 422, "invalid")
    assert problem["errors"][0]["path"] == "at"


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"])
def test_first_and_last_times_of_the_calendar_are_accepted(api: httpx.Client, at: str) -> None:
    assert ok(api.get("/retention/preview", params={"at": at}))["at"] == at


DAYS = [Day(NOON.date() + timedelta(days=number), "") for number in range(3)]
SLOW = "SELECT CAST(pg_sleep(30) AS text)"


@pytest.fixture
async def reads(database: str, tmp_path: Path) -> AsyncIterator[PastReads]:
    """An entry on each of three days, and a hold on the executions read on the first two."""
    async with PastReads.opened(database, tmp_path) as opened:
        await opened.days("e-1", "e-1", "e-2")
        await opened.past.place(PlaceHold(reason="Audit", executions=("e-1",)), "h-1")
        await opened.past.follow()
        yield opened


def handlers(reads: PastReads) -> PreviewHandlers:
    return PreviewHandlers(reads.past.store, 30, 30, clock=lambda: reads.past.now)


@pytest.mark.anyio
async def test_days_beyond_the_time_limit_are_left_out_and_marked_as_missing(
    reads: PastReads,
) -> None:
    found = await handlers(reads)._past(DAYS, OF_READS, monotonic() + 60)
    assert (found.days_held_by("h-1"), len(found.days), found.more) == (
        ["2026-10-01", "2026-10-02"],
        3,
        False,
    )
    found = await handlers(reads)._past(DAYS, OF_READS, monotonic())
    assert ([day for day, _ in found.days], found.more) == (["2026-10-01"], True)


@pytest.mark.anyio
async def test_day_that_takes_too_long_is_unknown_and_not_counted_as_an_outage(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_module, "MOST_SECONDS", 0.1)
    found = await handlers(reads)._past(DAYS[:1], SLOW, monotonic())
    assert [checked.unknown for _, checked in found.days] == [TOO_LONG]
    monkeypatch.undo()
    assert (await handlers(reads)._past(DAYS[:1], OF_READS, monotonic())).days_held_by("h-1")
