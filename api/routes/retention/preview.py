"""Previews retention: what would be archived or retired at a time, and what legal holds keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from time import monotonic
from typing import Any, LiteralString, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import parse_time_parameter
from api.web.request import Request
from domain.eventlog.store import Store
from domain.json_forms import format_time
from projections.audit.access.retired import days_of_access
from projections.log_lines.archive.days import Day, days_before
from projections.log_lines.archive.holds import OF_LINES, OF_READS, Checked, holds_within
from projections.log_lines.archive.holds_on import ActiveHold, active_holds

MOST_DAYS = 100
MOST_SECONDS = 3.0
"""Seconds for checking the days of an answer, and for one day; then no further day is checked."""
AT = Parameter(
    "at",
    "The time of the preview, in the future or the past; by default now",
    {"format": "date-time"},
)
NAMES = {"type": "array", "items": {"type": "string"}}
DAY = {"type": "string", "format": "date"}


def _days(outcome: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["day", "outcome"],
            "properties": {
                "day": DAY,
                "outcome": {"enum": [outcome, "kept", "unknown"]},
                "holds": NAMES,
                "reason": {"type": "string"},
            },
            "additionalProperties": False,
        },
    }


ARCHIVED, RETIRED = "archived", "retired"
PREVIEW: dict[str, Any] = {
    "type": "object",
    "required": [
        "at",
        "logDays",
        "days",
        "more",
        "accessLogDays",
        "accessDays",
        "moreAccessDays",
        "holds",
    ],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "logDays": {"type": "integer"},
        "days": _days(ARCHIVED),
        "more": {
            "type": "boolean",
            "description": "Whether there are days of log lines after these",
        },
        "accessLogDays": {"type": "integer"},
        "accessDays": _days(RETIRED),
        "moreAccessDays": {
            "type": "boolean",
            "description": "Whether there are days of the access log after these",
        },
        "holds": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["hold", "days", "accessDays"],
                "properties": {
                    "hold": {"type": "string"},
                    "executions": NAMES,
                    **{name: {"type": "string"} for name in ("order", "service", "customer")},
                    "days": {"type": "array", "items": DAY},
                    "accessDays": {"type": "array", "items": DAY},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


class PastDays(NamedTuple):
    """The first expired days at a time, each with the holds that keep it, and whether there are more."""

    days: Sequence[tuple[str, Checked]]
    more: bool

    def days_held_by(self, hold: str) -> list[str]:
        """The days that a hold keeps."""
        return [day for day, found in self.days if hold in {each.hold for each in found.holds}]


class PreviewHandlers:
    """Handles the operation of the preview. Log lines leave their table after `log_days`, the access log after
    `access_days`.
    """

    def __init__(
        self, store: Store, log_days: int, access_days: int, *, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._log_days = log_days
        self._access_days = access_days
        self._clock = clock

    async def preview(self, request: Request) -> ASGIApp:
        """Answer the days that would leave their tables, and the days and executions that each hold keeps."""
        given = request.parameter("at")
        at = self._clock() if given is None else parse_time_parameter("at", given)
        lines_until, reads_until = _back(at, self._log_days), _back(at, self._access_days)
        async with self._store.reader() as connection:
            of_lines = await days_before(connection, lines_until)
            of_reads = [Day(day, "") for day in await days_of_access(connection, reads_until)]
            holds = await active_holds(connection)
        end = monotonic() + MOST_SECONDS
        lines = await self._past(of_lines, OF_LINES, end)
        reads = await self._past(of_reads, OF_READS, end)
        named = Right.MANAGE_HOLDS in request.caller.rights
        shown = {
            "at": format_time(at),
            "logDays": self._log_days,
            "days": [_day(*each, ARCHIVED) for each in lines.days],
            "more": lines.more,
            "accessLogDays": self._access_days,
            "accessDays": [_day(*each, RETIRED) for each in reads.days],
            "moreAccessDays": reads.more,
            "holds": [_hold(hold, lines, reads, named=named) for hold in holds],
        }
        return responses.json(shown)

    async def _past(self, days: Sequence[Day], of_day: LiteralString, end: float) -> PastDays:
        """Check days until `end`, in monotonic seconds; the first day is always checked."""
        checked: list[tuple[str, Checked]] = []
        for day in days[:MOST_DAYS]:
            if checked and monotonic() >= end:
                break
            checked.append((str(day.day), await self._check(day, of_day)))
        return PastDays(checked, len(days) > len(checked))

    async def _check(self, day: Day, of_day: LiteralString) -> Checked:
        async with self._store.reader() as connection:
            return await holds_within(connection, self._store, day, of_day, MOST_SECONDS)


def _back(at: datetime, days: int) -> date:
    """The day that is `days` days before a time, or the first day of the calendar."""
    return date.fromordinal(max(date.min.toordinal(), at.toordinal() - days))


def _day(day: str, checked: Checked, outcome: str) -> dict[str, Any]:
    if checked.unknown:
        return {"day": day, "outcome": "unknown", "reason": checked.unknown}
    if checked.holds:
        return {"day": day, "outcome": "kept", "holds": [each.hold for each in checked.holds]}
    return {"day": day, "outcome": outcome}


def _hold(hold: ActiveHold, lines: PastDays, reads: PastDays, *, named: bool) -> dict[str, Any]:
    """What a hold keeps; what it is of is `named` to those who may read holds."""
    kept = {"days": lines.days_held_by(hold.id), "accessDays": reads.days_held_by(hold.id)}
    return {"hold": hold.id, **(hold.of if named else {}), **kept}


def routes(handlers: PreviewHandlers) -> tuple[Operation, ...]:
    """The operation of the preview."""
    return (
        Operation(
            "previewRetention",
            "GET",
            "/retention/preview",
            Right.OPERATE,
            "The days of log lines that would be archived at a time, those of the access log that would be retired, and those that legal holds keep",
            handlers.preview,
            answer=PREVIEW,
            parameters=(AT,),
        ),
    )
