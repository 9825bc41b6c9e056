"""Columns of values as PostgreSQL's binary arrays: psycopg's own lists take four times as long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from struct import Struct
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

NULL = b"\xff\xff\xff\xff"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HEAD = Struct("!iiIii")  # dimensions, whether there may be NULLs, the items' type, how many, from 1
SIZE = Struct("!i").pack
WHOLE = Struct("!iq").pack
REAL = Struct("!id").pack
TRUTH = {True: SIZE(1) + b"\1", False: SIZE(1) + b"\0"}


class _Texts(dict[str | None, bytes]):
    """How texts are sent, each made once: most columns have few that differ."""

    def __missing__(self, text: str) -> bytes:
        self[text] = sent = _bytes(text.encode())
        return sent


def _bytes(value: bytes) -> bytes:
    return SIZE(len(value)) + value


def _whole(value: int) -> bytes:
    return WHOLE(8, value)


def _real(value: float) -> bytes:
    return REAL(8, value)


def _time(value: datetime) -> bytes:
    return WHOLE(8, (value - EPOCH) // MICROSECOND)


def _encode_texts(values: Sequence[str | None]) -> Iterable[bytes]:
    return map(_Texts({None: NULL}).__getitem__, values)


def _encode_numbers(values: Sequence[Decimal | None]) -> Iterable[bytes]:
    return _encode_texts([None if value is None else str(value) for value in values])


def _encode_each(encode: Callable[[Any], bytes]) -> Column:
    return lambda values: [NULL if value is None else encode(value) for value in values]


Column = Callable[[Sequence[Any]], Iterable[bytes]]
ITEMS: dict[str, tuple[int, Column]] = {
    "boolean": (16, _encode_each(TRUTH.__getitem__)),
    "bytea": (17, _encode_each(_bytes)),
    "bigint": (20, _encode_each(_whole)),
    "text": (25, _encode_texts),
    "double precision": (701, _encode_each(_real)),
    "timestamptz": (1184, _encode_each(_time)),
    "numeric": (25, _encode_numbers),
}
"""The number by which PostgreSQL knows a type, and how the values of a column of it are sent; numeric as text."""


class Array(bytes):
    """A list of values as it is sent; in a statement it stands as `placeholders` says."""

    __slots__ = ()


def placeholders(kinds: Iterable[str]) -> str:
    """Where arrays of these types stand in a statement."""
    return ", ".join(
        "%b::text[]::numeric[]" if kind == "numeric" else f"%b::{kind}[]" for kind in kinds
    )


def array(kind: str, values: Sequence[Any]) -> Array:
    """The values, None among them as NULL, as an array of one of the types in `ITEMS`."""
    number, encode = ITEMS[kind]
    return Array(HEAD.pack(1, 1, number, len(values), 1) + b"".join(encode(values)))


def columns(kinds: Iterable[str], rows: Iterable[Sequence[Any]]) -> list[Array]:
    """The rows, of which there is at least one, turned into an array for each column."""
    return [
        array(kind, column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)
    ]


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Array:
        return obj


psycopg.adapters.register_dumper(Array, _ArrayDumper)
