"""How times, durations and sealed content stand in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapSerializer,
    WrapValidator,
)
from pydantic_core import from_json, to_json

RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
MILLISECOND = timedelta(milliseconds=1)


def parse_time(value: object) -> datetime:
    """RFC 3339 text, or an aware datetime, as UTC with milliseconds."""
    if isinstance(value, str) and RFC3339.fullmatch(value):
        value = datetime.fromisoformat(value.upper())
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("a time is RFC 3339 with an offset, like 2026-11-22T08:00:00.000Z")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time lies between the years 1 and 9999 in UTC") from None
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def format_time(value: datetime) -> str:
    """`2026-11-22T08:00:00.000Z`."""
    return value.isoformat(timespec="milliseconds")[:23] + "Z"


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def in_milliseconds(value: timedelta) -> int:
    """A duration as it stands on the wire."""
    return value // MILLISECOND


def milliseconds(at_least: int, at_most: int) -> Any:
    """The field type of a duration: `timedelta` inside, an integer of milliseconds on the wire."""

    def parse(value: object) -> object:
        if isinstance(value, timedelta):
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("a duration is a whole number of milliseconds")
        if not at_least <= value <= at_most:
            raise ValueError(f"a duration here is from {at_least} to {at_most} milliseconds")
        return timedelta(milliseconds=value)

    schema = {"type": "integer", "minimum": at_least, "maximum": at_most}
    return Annotated[
        timedelta,
        BeforeValidator(parse),
        PlainSerializer(in_milliseconds, when_used="json"),
        WithJsonSchema(schema),
    ]


def whole(value: object) -> object:
    """JSON Schema counts 6.0 as an integer; so do we."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(whole), Field(ge=0, le=2**53 - 1)]

SEALED = "$sealed"
SEALED_JSON = re.compile(rb'{"\$sealed":"([^"]*)"}')
"""A sealed value in stored JSON. Client content cannot forge one: inside a JSON string its quotes
are escaped, free attributes refuse keys with `$`, and all other content is itself sealed."""


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """Content that stays sealed: `token` is what stands in the stored JSON."""

    token: str


@dataclass(frozen=True, slots=True)
class Sealing:
    """Serialisation context: sealed fields leave through `seal` (JSON bytes to token)."""

    seal: Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Opening:
    """Validation context of stored JSON: tokens go through `open` (token to JSON bytes), or stay
    `Ciphertext` where it is missing or answers None (the key was destroyed).
    """

    open: Callable[[str], bytes | None] = lambda _: None


T = TypeVar("T")


def _open(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if isinstance(value, Ciphertext):
        return value
    if info.context is None or not (isinstance(value, dict) and value.keys() == {SEALED}):
        return handler(value)
    opened = info.context.open(value[SEALED])
    return Ciphertext(value[SEALED]) if opened is None else handler(from_json(opened))


def _seal(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    if isinstance(value, Ciphertext):
        return {SEALED: value.token}
    if info.context is None or value is None:
        return handler(value)
    return {SEALED: info.context.seal(to_json(handler(value)))}


Sealed = Annotated[T, WrapValidator(_open), WrapSerializer(_seal)]
"""A field that holds people's content: encrypted wherever it is stored (contract: what is sealed)."""
