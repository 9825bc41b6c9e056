"""How times, durations and sealed content stand in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_args

from pydantic import (
    BaseModel,
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
from pydantic_core import core_schema, from_json, to_json

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


@lru_cache(8_192)
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


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """Makes `Annotated[timedelta, Milliseconds(1, 1000)]` a whole number of ms on the wire."""

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

    def _parse(self, value: object) -> timedelta:
        if isinstance(value, timedelta):
            return value
        value = whole(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("a duration is a whole number of milliseconds")
        if not self.at_least <= value <= self.at_most:
            raise ValueError(f"a duration here is from {self.at_least} to {self.at_most} ms")
        return timedelta(milliseconds=value)


def whole(value: object) -> object:
    """JSON Schema counts 6.0 as an integer; so do we."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Bounds before the validator: behind it they would be missing from the JSON schema.
Count = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(whole)]

SEALED = "$sealed"
SEALED_JSON = re.compile(rb'{"\$sealed":"([^"]*)"}')
"""A sealed value in stored JSON. Client content cannot forge one: inside a JSON string its quotes
are escaped, free attributes refuse keys with `$`, and all other content is itself sealed."""
SECRET = "$secret"  # noqa: S105 - the mark of a secret, not one
SECRET_JSON = re.compile(rb'{"\$secret":"[^"]*"}')
"""The same, of what is never shown to a reader at all."""
MASKED = "***"
"""What a reader sees in its place."""


class Ciphertext(NamedTuple):
    """Content that stays sealed: in stored JSON `token` stands under `mark`."""

    token: str
    mark: str = SEALED


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


def _marked(marker: str) -> tuple[WrapValidator, WrapSerializer]:
    def opened(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, Ciphertext):
            return value
        if info.context is None or not (isinstance(value, dict) and value.keys() == {marker}):
            return handler(value)
        content = info.context.open(value[marker])
        if content is None:
            return Ciphertext(value[marker], marker)
        return handler(from_json(content))

    def sealed(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        if isinstance(value, Ciphertext):
            return {marker: value.token}
        if info.context is None or value is None:
            return handler(value)
        return {marker: info.context.seal(to_json(handler(value)))}

    return WrapValidator(opened), WrapSerializer(sealed)


_UNSEAL, _SEAL = _marked(SEALED)
_REVEAL, _HIDE = _marked(SECRET)
Sealed = Annotated[T, _UNSEAL, _SEAL]
"""A field that holds people's content: encrypted wherever it is stored, opened for its readers."""
Secret = Annotated[T, _REVEAL, _HIDE]
"""A field that holds a secret: encrypted wherever it is stored, opened by the writer alone."""


def holds_sealed(annotation: Any) -> bool:
    """Whether a model, or a type, has a sealed or secret field anywhere inside."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return any(_sealing(f.metadata) or holds_sealed(f.annotation) for f in fields)
    metadata = getattr(annotation, "__metadata__", ())
    return _sealing(metadata) or any(holds_sealed(part) for part in get_args(annotation))


def _sealing(metadata: Iterable[Any]) -> bool:
    return any(mark in (_SEAL, _HIDE) for mark in metadata)
