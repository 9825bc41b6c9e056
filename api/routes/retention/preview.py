"""What would go at a time, and what legal holds would keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import parsed_time
from api.web.request import Request
from domain.eventlog.store import Store
from domain.json_forms import format_time
from projections.log_lines.archive.days import days_before
from projections.log_lines.archive.holds import Checked, holds_of
from projections.log_lines.archive.holds_on import ActiveHold, active_holds

MOST_DAYS = 100
AT = Parameter(
    "at", "The time that is looked ahead to, or back; by default now", {"format": "date-time"}
)
NAMES = {"type": "array", "items": {"type": "string"}}
DAY = {"type": "string", "format": "date"}
PREVIEW: dict[str, Any] = {
    "type": "object",
    "required": ["at", "logDays", "days", "more", "holds"],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "logDays": {"type": "integer"},
        "days": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["day", "outcome"],
                "properties": {
                    "day": DAY,
                    "outcome": {"enum": ["archived", "kept", "unknown"]},
                    "holds": NAMES,
                    "reason": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
        "more": {"type": "boolean", "description": "Whether there are days after these"},
        "holds": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["hold", "days"],
                "properties": {
                    "hold": {"type": "string"},
                    "executions": NAMES,
                    **{name: {"type": "string"} for name in ("order", "service", "customer")},
                    "days": {"type": "array", "items": DAY},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


class PreviewHandlers:
    """Looks which days of log lines are past at a time; a day leaves the table after `log_days`."""

    def __init__(self, store: Store, log_days: int, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._log_days = log_days
        self._clock = clock

    async def preview(self, request: Request) -> ASGIApp:
        """The days that would leave the table, and what each hold keeps: of these, and from erasure."""
        given = request.parameter("at")
        at = self._clock() if given is None else parsed_time("at", given)
        async with self._store.reader() as connection:
            until = at.date() - timedelta(days=self._log_days)
            days = await days_before(connection, until)
            checked = [
                (str(day.day), await holds_of(connection, self._store, day))
                for day in days[:MOST_DAYS]
            ]
            holds = await active_holds(connection)
        named = Right.MANAGE_HOLDS in request.caller.rights
        shown = {
            "at": format_time(at),
            "logDays": self._log_days,
            "days": [_day(*each) for each in checked],
            "more": len(days) > MOST_DAYS,
            "holds": [_hold(hold, checked, named=named) for hold in holds],
        }
        return responses.json(shown)


def _day(day: str, checked: Checked) -> dict[str, Any]:
    if checked.unknown:
        return {"day": day, "outcome": "unknown", "reason": checked.unknown}
    if checked.holds:
        return {"day": day, "outcome": "kept", "holds": [each.hold for each in checked.holds]}
    return {"day": day, "outcome": "archived"}


def _hold(
    hold: ActiveHold, checked: Sequence[tuple[str, Checked]], *, named: bool
) -> dict[str, Any]:
    """What a hold keeps; what it is of is `named` to those who may read holds."""
    kept = [day for day, found in checked if hold.id in {each.hold for each in found.holds}]
    return {"hold": hold.id, **(hold.of if named else {}), "days": kept}


def routes(handlers: PreviewHandlers) -> tuple[Operation, ...]:
    """The row of the preview."""
    return (
        Operation(
            "previewRetention",
            "GET",
            "/retention/preview",
            Right.OPERATE,
            "Which days of log lines would be archived at a time, and what legal holds keep",
            handlers.preview,
            answer=PREVIEW,
            parameters=(AT,),
        ),
    )
