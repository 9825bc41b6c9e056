"""Sort orders and the keyset cursors that page through them.

A page begins after the sort values of the last row of the previous page, not after a number of rows: so rows written
meanwhile shift nothing. Missing values come last in both directions. Ties are in the order of creation, which takes
half as much space in an index as ids; `$id` as the last key makes every order total.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64
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
"""The fields that are added at the end of an order that does not name them."""
STANDARD = bytes.maketrans(b"-_", b"+/")
"""From the alphabet of base64url to that of base64."""

Sortable = Callable[[str], Field | None]
"""Returns the field of a path; None if rows cannot be sorted by it."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """A field by which rows are sorted, and its direction."""

    field: Field
    descending: bool

    @property
    def rank(self) -> str:
        """The SQL expression that is sorted by."""
        return self.field.kind.order(self.field.column)

    @property
    def clause(self) -> str:
        """The SQL expression with its direction, for ORDER BY."""
        return self.ordering(self.rank)

    def ordering(self, rank: str) -> str:
        """Return `rank` with the direction of this key. NULLS LAST only if the field may be missing, because an index
        cannot be used with it.
        """
        direction = " DESC" if self.descending else ""
        return rank + direction + (" NULLS LAST" if self.field.nullable else "")


def order(sort: str, sortable: Sortable, names: Iterable[str]) -> tuple[SortKey, ...]:
    """Return the sort keys of a text such as `-metadata.createdAt,priority`, with the keys of `TIES` added in the
    direction of the last key. `names` are all sortable fields, for the text of the refusal.

    Raises:
        Invalid: a key names no sortable field, a field is named twice, or there are too many keys.
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
    """Yield the keys of `TIES` that the order does not have; none after `$id`, which makes the order total."""
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
    """Return SQL for the rows that come after `sort_values`, one for each key. Values to bind are appended to `values`."""
    directions = {key.descending for key in keys}
    if len(directions) > 1 or any(key.field.nullable for key in keys):
        return _beyond(keys[0], sort_values[0], values, keys[1:], sort_values[1:])
    sign = "<" if keys[0].descending else ">"
    if len(keys) <= len(TIES):
        return _compare_sql(keys, sort_values, values, sign)
    # An index has all keys but the id. The planner estimates a row comparison by its first field alone. If all rows had
    # the same value there, it would expect hardly any rows beyond that value, and would read and sort all of them.
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
    key: SortKey,
    value: Any,
    values: list[Any],
    others: Sequence[SortKey],
    sort_values: Sequence[Any],
) -> str:
    """Return SQL for the rows after `value` by the first key, or equal by it and after `sort_values` by the other keys."""
    alternatives = []
    if value is not None:
        values.append(value)
        alternatives.append(f"{key.rank} {'<' if key.descending else '>'} %s")
        if key.field.nullable:
            alternatives.append(f"{key.rank} IS NULL")
    if others:
        equal = f"{key.rank} IS NULL"
        if value is not None:
            values.append(value)
            equal = f"{key.rank} = %s"
        alternatives.append(
            f"({equal} AND {_beyond(others[0], sort_values[0], values, others[1:], sort_values[1:])})"
        )
    return "(" + (" OR ".join(alternatives) or "false") + ")"


def fingerprint(condition: Condition) -> str:
    """Return a short digest of a filter, by which a cursor names the filter that it belongs to."""
    values: list[Any] = []
    text = sql(condition, values)
    return blake2b(f"{text}{values}".encode(), digest_size=9).hexdigest()


def encode(sort: str, condition: Condition, sort_values: Sequence[Any]) -> str:
    """Return the cursor after a row with these sort values: opaque, and valid only with the same sort and filter."""
    return encode_all(sort, condition, json_values([sort_values]))[0]


def encode_all(sort: str, condition: Condition, values: Iterable[Sequence[Any]]) -> list[str]:
    """Return the cursors after several rows, by their `json_values`."""
    head = [sort, fingerprint(condition)]
    return [encode_cursor([*head, *of_row]) for of_row in values]


def json_values(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return the sort values of rows as they are in cursors."""
    return [[*map(_json_value, sort_values)] for sort_values in rows]


def _json_value(value: object) -> object:
    return format_time(value) if isinstance(value, datetime) else value


def encode_cursor(content: object) -> str:
    """Return a JSON value as a cursor: base64url without padding."""
    return urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode_cursor(cursor: str) -> Any:
    """Return the JSON value in a cursor. Raises ValueError if the text is no cursor."""
    text = cursor.encode().translate(STANDARD)
    return orjson.loads(a2b_base64(text + b"=" * (-len(text) % 4)))  # in half the time of `base64`


def decode(cursor: str, sort: str, condition: Condition, keys: Sequence[SortKey]) -> list[Any]:
    """Return the sort values in a cursor: one for each key.

    Raises:
        Invalid: the text is no cursor, or a cursor of another sort or filter.
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
