"""Query parameters that many operations have in common."""

from __future__ import annotations

from datetime import datetime

from api.web.operation import Parameter
from domain.errors import Invalid
from domain.json_forms import parse_time

LIMIT = Parameter("limit", "The number of rows", {"type": "integer", "minimum": 1, "maximum": 500})
CURSOR = Parameter("cursor", "`nextCursor` of the page before")
VERSION = Parameter(
    "version", "Answer the state at this version", {"type": "integer", "minimum": 1}
)
AT = Parameter("at", "Answer the state at this time", {"type": "string", "format": "date-time"})
MIN_POSITION = Parameter(
    "minPosition",
    "Answer only when the data has reached this position of the log (see `Prefer: wait=<seconds>`)",
    {"type": "integer", "minimum": 0},
)
LOG = Parameter(
    "log",
    "The id of the log that the position or the cursor is of (`Log-Id`): 410 where this server serves another log",
)
FRESH = (MIN_POSITION, LOG)
PAST = (VERSION, AT, *FRESH)


def parse_time_parameter(name: str, text: str) -> datetime:
    """Parse a query parameter as a time. Raises Invalid where it is none."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise Invalid.field(name, str(error)) from None
