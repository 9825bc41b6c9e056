"""`GET /retention/preview`: which days would go at a time, and which a hold keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import httpx

from tests.support.api_client import Executions, ok, refused

TODAY = datetime.now(UTC).replace(hour=12)


def preview(api: httpx.Client, at: datetime) -> dict[str, str]:
    """The outcome of each day, once the views have followed the log."""
    end = monotonic() + 20
    while True:
        shown = ok(api.get("/retention/preview", params={"at": at.isoformat()}))
        found = {each["day"]: each["outcome"] for each in shown["days"]}
        if "unknown" not in found.values():
            return found
        assert monotonic() < end, shown
        sleep(0.05)


def test_day_goes_after_its_days_and_a_hold_keeps_it(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    executions.tell(running_execution, "logs", level="info", message="hello")
    day = str(datetime.now(UTC).date())
    assert day not in preview(api, TODAY + timedelta(days=30))
    assert preview(api, TODAY + timedelta(days=32))[day] == "archived"
    asked = {"executions": [running_execution], "reason": "Audit"}
    placed = api.post("/holds", json=asked)
    hold = ok(placed)["$id"]
    ok(api.get("/holds", params={"minPosition": placed.headers["log-position"]}))
    later = {"at": (TODAY + timedelta(days=32)).isoformat()}
    shown = ok(api.get("/retention/preview", params=later))
    [found] = [each for each in shown["days"] if each["day"] == day]
    assert (found["outcome"], found["holds"]) == ("kept", [hold])
    [named] = [each for each in shown["holds"] if each["hold"] == hold]
    assert (named["executions"], named["days"]) == ([running_execution], [day])
    assert shown["logDays"] == 30


def test_day_of_the_access_log_goes_after_its_days_and_a_hold_keeps_it(
    api: httpx.Client, running_execution: str
) -> None:
    ok(api.get(f"/executions/{running_execution}"))
    day = str(datetime.now(UTC).date())

    def shown(days: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        end = monotonic() + 20
        while True:
            at = (TODAY + timedelta(days=days)).isoformat()
            found = ok(api.get("/retention/preview", params={"at": at}))
            of_day = {each["day"]: each for each in found["accessDays"]}.get(day, {})
            if of_day.get("outcome") != "unknown":
                return of_day, found["holds"]
            assert monotonic() < end, found
            sleep(0.05)

    assert shown(3_650)[0] == {}
    assert shown(3_652)[0] == {"day": day, "outcome": "retired"}
    placed = api.post("/holds", json={"executions": [running_execution], "reason": "Audit"})
    ok(api.get("/holds", params={"minPosition": placed.headers["log-position"]}))
    of_day, holds = shown(3_652)
    assert of_day == {"day": day, "outcome": "kept", "holds": [ok(placed)["$id"]]}
    assert day in next(each["accessDays"] for each in holds if each["hold"] == ok(placed)["$id"])


def test_time_that_is_none_is_refused(api: httpx.Client) -> None:
    problem = refused(api.get("/retention/preview", params={"at": "soon"}), 422, "invalid")
    assert problem["errors"][0]["path"] == "at"
