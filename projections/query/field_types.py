"""The types of fields that lists are filtered and sorted by, and the operators of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from domain.errors import but_is, instead
from domain.json_forms import parse_time

SMALLEST_WHOLE, LARGEST_WHOLE = -(2**63), 2**63 - 1
"""The bounds of whole numbers, as of PostgreSQL's `bigint`."""
LONGEST_INDEXED = 600
"""Characters of a text that an index holds as it is: 2 400 bytes at most, as an entry of a B-tree takes 2 704 bytes."""
NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?")


def text(value: object) -> str:
    """Return a text of any length that PostgreSQL can store: without NUL and without a lone surrogate."""
    if not isinstance(value, str):
        raise ValueError(f"must be text{instead(value)}")
    if "\0" in value or not _encodable(value):
        raise ValueError("must be text without NUL and without half of a surrogate pair")
    return value


def indexable(value: str) -> str:
    """Return a text as rows store and compare it: a long one is cut, and ends with a digest of the whole, so that different
    texts stay different.
    """
    if len(value) <= LONGEST_INDEXED:
        return value
    digest = sha256(value.encode()).hexdigest()
    return value[: LONGEST_INDEXED - len(digest)] + digest


def indexable_text(value: object) -> str:
    """Return a text as rows store it (`indexable`), that PostgreSQL can store (`text`)."""
    return indexable(text(value))


def number(value: object) -> int | float:
    """Return a finite number; a whole number must fit into 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number{instead(value)}")
    if isinstance(value, int) and not SMALLEST_WHOLE <= value <= LARGEST_WHOLE:
        said = f"must be a number from {SMALLEST_WHOLE} to {LARGEST_WHOLE}"
        raise ValueError(f"{said}{but_is(value)}")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def boolean(value: object) -> bool:
    """Return a value that must be true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false{instead(value)}")
    return value


def scalar(value: object) -> str | int | float | bool:
    """Return an operand for a free attribute, with its JSON type: text, a number, true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return text(value)
    raise ValueError(f"must be text, a number, true or false{instead(value)}")


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def numeral(value: str) -> int | float:
    """Return the number that the text of a query parameter represents."""
    if not NUMBER.fullmatch(value):
        raise ValueError(f"must be a number{but_is(value)}")
    return int(value) if value.lstrip("-").isdigit() else float(value)


def _truth(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError(f"must be true or false{but_is(value)}")
    return value == "true"


@dataclass(frozen=True, slots=True)
class FieldKind:
    """The type of a field. `column` is the type in SQL, `read` checks an operand from JSON, `literal` converts the text
    of a query parameter to JSON, and `words` are the possible values, if they are known.
    """

    column: str
    read: Callable[[object], Any]
    literal: Callable[[str], object] = field(default=str)
    words: tuple[str, ...] = ()

    @property
    def reads_numbers(self) -> bool:
        """Whether the values are numbers."""
        return self.read is number

    def order(self, column: str) -> str:
        """Return the SQL by which values of this kind are sorted: words in the order of their declaration."""
        if not self.words:
            return column
        words = ", ".join(f"'{word}'" for word in self.words)
        return f"array_position(ARRAY[{words}], {column})"

    def rank(self, operand: Any) -> Any:
        """Return the value of an operand that compares with the values of `order`."""
        return self.words.index(operand) + 1 if self.words else operand


TEXT = FieldKind('text COLLATE "C"', indexable_text)
WHOLE = FieldKind("bigint", number, numeral)
REAL = FieldKind("double precision", number, numeral)
TIME = FieldKind("timestamptz", parse_time)
BOOLEAN = FieldKind("boolean", boolean, _truth)
TAGS = FieldKind("text[]", text)
ATTRIBUTE = FieldKind("jsonb", scalar)


def words(*allowed: str) -> FieldKind:
    """Return the type of a text that has one of the allowed values."""

    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}{but_is(value)}")
        return str(value)

    return FieldKind('text COLLATE "C"', read, words=allowed)
