"""Sort orders and the keyset cursors that page through them.

A page begins after the last row of the one before, by value, never by number: rows written
meanwhile move nothing. Missing values come last in every direction. Ties are in the order of creation,
which takes half of the room that ids take in an index; `$id` makes every order total.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from domain.errors import Invalid
from domain.json_forms import format_time, parse_time
from projections.query.ast import Condition, Field
from projections.query.field_paths import split_list
from projections.query.field_types import BOOLEAN, TIME, boolean, number, text
from projections.query.sql import sql

DEFAULT_SORT = "-metadata.createdAt"
MOST_KEYS = 5
CREATION, IDENTITY = "metadata.createdAt", "$id"
TIES = (CREATION, IDENTITY)
"""The last fields of an order, unless it names them."""

Sortable = Callable[[str], Field | None]
"""Finds a field by its path; None where rows cannot be ordered by it."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """One field to order by."""

    field: Field
    descending: bool

    @property
    def rank(self) -> str:
        """What stands in ORDER BY, without its direction."""
        return self.field.kind.order(self.field.column)

    @property
    def clause(self) -> str:
        """The whole of it."""
        return self.ordering(self.rank)

    def ordering(self, rank: str) -> str:
        """Its direction. NULLS LAST only where there can be any: it would keep an index out."""
        direction = " DESC" if self.descending else ""
        return rank + direction + (" NULLS LAST" if self.field.nullable else "")


def order(sort: str, sortable: Sortable, names: Iterable[str]) -> tuple[SortKey, ...]:
    """The keys of `-metadata.createdAt,priority`; ties are broken by the creation and by `$id`, in the last direction.
    `names` are those of all fields that are `sortable`, for the refusal.

    Raises:
        Invalid: a key names no field to sort by, comes twice, or there are too many.
    """
    keys: list[SortKey] = []
    for word in split_list(sort):
        field = sortable(word.removeprefix("-"))
        if field is None:
            raise Invalid.field("sort", _unsortable(word.removeprefix("-"), names))
        if any(key.field == field for key in keys):
            raise Invalid.field("sort", f"must name each field once, but has `{word[:100]}` twice")
        keys.append(SortKey(field, word.startswith("-")))
    if len(keys) > MOST_KEYS:
        raise Invalid.field("sort", f"must have at most {MOST_KEYS} fields, but has {len(keys)}")
    return (*keys, *_ties(keys, sortable))


def _ties(keys: Sequence[SortKey], sortable: Sortable) -> Iterator[SortKey]:
    """The keys that make an order total, as far as it is not."""
    named = {key.field.path for key in keys}
    for path in TIES:
        field = sortable(path)
        assert field is not None
        if not named & {path, IDENTITY}:
            yield SortKey(field, keys[-1].descending)


def _unsortable(path: str, names: Iterable[str]) -> str:
    shown = f"`{path[:100]}`"
    if path.startswith("metadata"):
        shown += ", a free attribute, by which executions can be filtered, not sorted"
    return (
        f"must be of {', '.join(names)}, each with a `-` for the other direction, but has {shown}"
    )


def after(keys: Sequence[SortKey], sort_values: Sequence[Any], values: list[Any]) -> str:
    """The rows that come after `sort_values` (one for each key), as SQL; `values` are to be bound."""
    directions = {key.descending for key in keys}
    if len(directions) > 1 or any(key.field.nullable for key in keys):
        return _beyond(keys[0], sort_values[0], values, keys[1:], sort_values[1:])
    sign = "<" if keys[0].descending else ">"
    if len(keys) <= len(TIES):
        return _compare_sql(keys, sort_values, values, sign)
    # An index has all but the id. The planner judges such a comparison by the first field alone: of one that all rows
    # have in common it would expect hardly any beyond its value, and read all to sort those.
    reached = _compare_sql(keys[:-1], sort_values[:-1], values, f"{sign}=")
    values.extend(sort_values)
    return f"{reached} AND ({' OR '.join(f'{key.rank} {sign} %s' for key in keys)})"


def _compare_sql(
    keys: Sequence[SortKey], sort_values: Sequence[Any], values: list[Any], sign: str
) -> str:
    values.extend(sort_values)
    ranks, marks = ", ".join(key.rank for key in keys), ", ".join("%s" for _ in keys)
    return f"({ranks}) {sign} ({marks})"


def _beyond(
    key: SortKey, value: Any, values: list[Any], rest: Sequence[SortKey], sort_values: Sequence[Any]
) -> str:
    alternatives = []
    if value is not None:
        values.append(value)
        alternatives.append(f"{key.rank} {'<' if key.descending else '>'} %s")
        if key.field.nullable:
            alternatives.append(f"{key.rank} IS NULL")
    if rest:
        equal = f"{key.rank} IS NULL"
        if value is not None:
            values.append(value)
            equal = f"{key.rank} = %s"
        alternatives.append(
            f"({equal} AND {_beyond(rest[0], sort_values[0], values, rest[1:], sort_values[1:])})"
        )
    return "(" + (" OR ".join(alternatives) or "false") + ")"


def fingerprint(condition: Condition) -> str:
    """A filter in few characters: a cursor says which filter it belongs to."""
    values: list[Any] = []
    text = sql(condition, values)
    return blake2b(f"{text}{values}".encode(), digest_size=9).hexdigest()


def encode(sort: str, condition: Condition, sort_values: Sequence[Any]) -> str:
    """The cursor behind a row with these sort values: opaque, and of use only with the same sort and filter."""
    return encode_all(sort, condition, [sort_values])[0]


def encode_all(sort: str, condition: Condition, rows: Iterable[Sequence[Any]]) -> list[str]:
    """The cursors behind several rows, by their sort values."""
    beginning = [sort, fingerprint(condition)]
    return [encode_cursor([*beginning, *map(_plain_value, sort_values)]) for sort_values in rows]


def _plain_value(value: object) -> object:
    return format_time(value) if isinstance(value, datetime) else value


def encode_cursor(content: object) -> str:
    """A JSON value as a cursor."""
    return urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode_cursor(cursor: str) -> Any:
    """The JSON value in a cursor. Raises ValueError where there is none."""
    return orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))


def decode(cursor: str, sort: str, condition: Condition, keys: Sequence[SortKey]) -> list[Any]:
    """The sort values in a cursor, one for each key.

    Raises:
        Invalid: it was not made here, or for another sort or filter.
    """
    try:
        sorted_by, filtered, *sort_values = decode_cursor(cursor)
        if (sorted_by, filtered) != (sort, fingerprint(condition)):
            raise ValueError("it belongs to another sort or filter")
        return [_value(key, value) for key, value in zip(keys, sort_values, strict=True)]
    except (ValueError, TypeError) as error:
        raise Invalid.field(
            "cursor", "must be `nextCursor` of a page of the same sort and filter"
        ) from error


def _value(key: SortKey, value: object) -> Any:
    if value is None and key.field.nullable:
        return None
    kind = key.field.kind
    if kind is TIME:
        return parse_time(value)
    if kind is BOOLEAN:
        return boolean(value)
    return number(value) if kind.words or kind.reads_numbers else text(value)
