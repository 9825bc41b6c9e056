"""The JSON forms of times, durations and counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import core_schema

from domain.errors import but_is, instead

RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-](?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
TIME_FORM = "must be an RFC 3339 time with an offset, like 2026-11-22T08:00:00.000Z"
MILLISECOND = timedelta(milliseconds=1)


def parse_time(value: object) -> datetime:
    """Parse an RFC 3339 text, or take an aware datetime; return it in UTC, cut to milliseconds."""
    if isinstance(value, str):
        value = _read_time(value)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{TIME_FORM}{instead(value)}")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def is_between_milliseconds(value: object) -> bool:
    """Whether `parse_time`, which accepts the value, cuts it."""
    time = _read_time(value) if isinstance(value, str) else value
    return isinstance(time, datetime) and time.microsecond % 1_000 != 0


def _read_time(text: str) -> datetime:
    if (parts := RFC3339.fullmatch(text)) is None:
        raise ValueError(f"{TIME_FORM}{but_is(text)}")
    if (hours := parts["hours"]) and (int(hours) > 23 or int(parts["minutes"]) > 59):
        offset = text[-6:]
        raise ValueError(f"must have an offset from -23:59 to +23:59, but has `{offset}`")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"must be a time that exists, but is `{text}`") from None


@lru_cache(8_192)
def format_time(value: datetime) -> str:
    """Format a time in UTC as `2026-11-22T08:00:00.000Z`."""
    return value.isoformat(timespec="milliseconds")[:23] + "Z"


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def in_milliseconds(value: timedelta) -> int:
    """A duration in whole milliseconds, as in JSON."""
    return value // MILLISECOND


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """Makes `Annotated[timedelta, Milliseconds(1, 1000)]` a whole number of milliseconds within bounds in JSON."""

    at_least: int
    at_most: int

    def __get_pydantic_core_schema__(self, *_: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                in_milliseconds, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.at_least, "maximum": self.at_most}

    @property
    def _bounds(self) -> str:
        return f"must be a whole number of milliseconds from {self.at_least} to {self.at_most}"

    def _parse(self, value: object) -> timedelta:
        if isinstance(value, timedelta):
            return value
        value = whole(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{self._bounds}{instead(value)}")
        if not self.at_least <= value <= self.at_most:
            raise ValueError(f"{self._bounds}{but_is(value)}")
        return timedelta(milliseconds=value)


def whole(value: object) -> object:
    """Turn a float without a fraction into an int, as 6.0 is an integer by JSON Schema; return other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# The bounds come before the validator, as otherwise they would be missing from the JSON schema.
Count = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(whole)]
