"""One page out of a page of each of several logs, in the exact order, and the cursor behind it.

A log may have what comes next until it was asked for it. So a page ends where the rows of a log end that has more.
The cursor names for each log that has more a place behind which it goes on.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key
from typing import Any, NamedTuple

import orjson

from domain.errors import Invalid
from projections.query.field_paths import split_list

Places = dict[str, str | None]
"""Where each log goes on that has more: behind a cursor of its own, or from its beginning."""


class CellPage(NamedTuple):
    """A page of one log: documents, a cursor behind each, and whether there are more."""

    rows: Sequence[Any]
    cursors: Sequence[str]
    more: bool


class Merged(NamedTuple):
    """Rows with the names of their logs, and where each log goes on."""

    rows: list[tuple[str, Any]]
    places: Places


def merged(pages: Mapping[str, CellPage], before: Places, sort: str, limit: int) -> Merged:
    """The first rows of all pages, in the order of `sort`; `before` is where the pages began."""
    taken = dict.fromkeys(pages, 0)
    rows: list[tuple[str, Any]] = []
    last: Sequence[Any] = ()
    for name, place in _in_order(pages, sort):
        if len(rows) == limit:
            break
        page, nth = pages[name], taken[name]
        rows.append((name, page.rows[nth]))
        taken[name], last = nth + 1, place
        if taken[name] == len(page.rows) and page.more:
            break
    going_on = {name: page for name, page in pages.items() if _has_more(page, taken[name])}
    places = {
        name: _place(page, taken[name], last, before[name]) for name, page in going_on.items()
    }
    return Merged(rows, places)


def _in_order(pages: Mapping[str, CellPage], sort: str) -> Iterator[tuple[str, Sequence[Any]]]:
    rank = cmp_to_key(_comparing(sort))
    every = [(name, _values(cursor)) for name, page in pages.items() for cursor in page.cursors]
    return iter(sorted(every, key=lambda each: rank(each[1])))


def _comparing(sort: str) -> Any:
    descending = [word.startswith("-") for word in split_list(sort)]

    def compare(one: Sequence[Any], other: Sequence[Any]) -> int:
        for nth, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            if mine == theirs:
                continue
            if mine is None or theirs is None:  # what is missing comes last in every direction
                return 1 if mine is None else -1
            falls = descending[min(nth, len(descending) - 1)]
            return (1 if mine < theirs else -1) if falls else (-1 if mine < theirs else 1)
        return 0

    return compare


def _has_more(page: CellPage, taken: int) -> bool:
    return page.more or taken < len(page.rows)


def _place(page: CellPage, taken: int, last: Sequence[Any], before: str | None) -> str | None:
    """Behind the last row that is shown, of whichever log: what comes to be before it is not shown any more. Where
    the next row stands at the very same place, as two logs have an id in common, behind the last one of its own.
    """
    if taken == len(page.rows) or not last or _values(page.cursors[taken]) == last:
        return page.cursors[taken - 1] if taken else before
    sort, condition, *_ = _content(page.cursors[taken])
    return _encoded([sort, condition, *last])


def _values(cursor: str) -> list[Any]:
    return _content(cursor)[2:]


def _content(cursor: str) -> list[Any]:
    content = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    assert isinstance(content, list)
    return content


def _encoded(content: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def encode(places: Places) -> str | None:
    """The cursor of the next page; None where no log has more."""
    return _encoded(places) if places else None


def decode(cursor: str | None, names: Sequence[str]) -> Places:
    """Where each log goes on; without a cursor from the beginning.

    Raises:
        Invalid: it was not made here, or names a log that is not asked.
    """
    if cursor is None:
        return dict.fromkeys(names)
    try:
        places = orjson.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not isinstance(places, dict) or not places or not set(places) <= set(names):
            raise ValueError(cursor)
        if not all(place is None or isinstance(place, str) for place in places.values()):
            raise ValueError(cursor)
    except ValueError as error:
        raise Invalid.field(
            "cursor", "must be `nextCursor` of a page of the same logs, sort and filter"
        ) from error
    return places
