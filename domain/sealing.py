"""Sealed content in models and in JSON: the types of encrypted fields, and the form of their tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar, get_args

from pydantic import (
    BaseModel,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)
from pydantic_core import from_json, to_json

SEALED = "$sealed"
SEALED_JSON = re.compile(rb'{"\$sealed":"([^"]*)"}')
"""A sealed value in stored JSON. Client content cannot forge one: inside a JSON string its quotes
are escaped, free attributes refuse keys with `$`, and all other content is itself sealed."""
SECRET = "$secret"  # noqa: S105 - the mark of a secret, not one
SECRET_JSON = re.compile(rb'{"\$secret":"[^"]*"}')
"""A secret value in stored JSON, which is never shown to readers."""
MASKED = "***"
"""What readers get in place of a secret value."""


class Ciphertext(NamedTuple):
    """Content that is still sealed: in stored JSON it is an object with the one member `mark`, whose value is `token`.

    `damaged`: opening it has failed.
    """

    token: str
    mark: str = SEALED
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Sealing:
    """The serialization context of stored JSON: `seal` turns the JSON bytes of a sealed field into a token."""

    seal: Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Opening:
    """The validation context of stored JSON: `open` turns a token into JSON bytes. A token stays `Ciphertext` where `open` is
    None, as there is no key, or returns None, as the token is damaged.
    """

    open: Callable[[str], bytes | None] | None = None


T = TypeVar("T")


def _with_marker(marker: str) -> tuple[WrapValidator, WrapSerializer]:
    def open_value(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, Ciphertext):
            return value
        if info.context is None or not (isinstance(value, dict) and value.keys() == {marker}):
            return handler(value)
        opening: Opening = info.context
        if opening.open is None:
            return Ciphertext(value[marker], marker)
        content = opening.open(value[marker])
        if content is None:
            return Ciphertext(value[marker], marker, damaged=True)
        return handler(from_json(content))

    def seal_value(
        value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> Any:
        if isinstance(value, Ciphertext):
            return {marker: value.token}
        if info.context is None or value is None:
            return handler(value)
        return {marker: info.context.seal(to_json(handler(value)))}

    return WrapValidator(open_value), WrapSerializer(seal_value)


_UNSEAL, _SEAL = _with_marker(SEALED)
_REVEAL, _HIDE = _with_marker(SECRET)
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
