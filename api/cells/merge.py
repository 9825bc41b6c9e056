"""One page out of a page of each of several logs, in the exact order, and the cursor behind it.

A log may have what comes next until it was asked for it. So a page ends where the rows of a log end that has more.
The cursor names for each log a place behind which it goes on, also where it has no more: what comes to be behind that
place meanwhile is still shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cmp_to_key
from itertools import islice
from typing import Any, NamedTuple

from domain.errors import Invalid
from projections.query.field_paths import split_list
from projections.query.pagination import packed, unpacked

Places = dict[str, str | None]
"""Where each log goes on: behind a cursor of its own, or from its beginning, as it has not answered yet."""
Values = Sequence[Any]
"""What a row is ordered by, `$id` last."""
NOTHING_YET = ""
"""The place in a log that had no row: it goes on behind what was shown of the others."""


class CellPage(NamedTuple):
    """A page of one log: documents, a cursor behind each and what that is made of, whether there are more, and how many
    in all, if that was asked for.
    """

    rows: Sequence[Any]
    cursors: Sequence[str]
    places: Sequence[Values]
    more: bool
    total: int | None = None

    @classmethod
    def of(cls, body: Any) -> CellPage:
        """What a log answered. Raises ValueError, TypeError or LookupError where it is no page."""
        rows, cursors = body["data"], body["cursors"]
        places = [_values(cursor) for _, cursor in zip(rows, cursors, strict=True)]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("its rows are no documents")
        return cls(rows, cursors, places, body["hasMore"], body.get("total"))


class Merged(NamedTuple):
    """Rows with the names of their logs, where each log goes on, and whether one of them has more."""

    rows: list[tuple[str, Any]]
    places: Places
    more: bool


def merged(pages: Mapping[str, CellPage], before: Places, sort: str, limit: int) -> Merged:
    """The first rows of all pages, in the order of `sort`; `before` is where all logs began, also those that have no
    page, as they do not answer.
    """
    rank = cmp_to_key(_comparing(sort))
    shown = _furthest(before, sort)
    taken = {
        name: _passed(page, shown, rank) if before[name] == NOTHING_YET else 0
        for name, page in pages.items()
    }
    rows: list[tuple[str, Any]] = []
    last: Values = ()
    for name, values in islice(_in_order(pages, taken, rank), limit):
        rows.append((name, pages[name].rows[taken[name]]))
        taken[name], last = taken[name] + 1, values
        if _is_used_up(pages[name], taken[name]):
            break
    places = {}
    for name, page in pages.items():
        reached = shown if before[name] == NOTHING_YET and not last else last
        places[name] = _place(page, taken[name], reached, before[name], rank)
    more = any(page.more or taken[name] < len(page.rows) for name, page in pages.items())
    return Merged(rows, before | places, more)


def _furthest(places: Places, sort: str) -> Values:
    """What was shown last, of whichever log."""
    rank = cmp_to_key(_comparing(sort))
    return max((_values(place) for place in places.values() if place), key=rank, default=())


def _passed(page: CellPage, shown: Values, rank: Callable[[Values], Any]) -> int:
    """How many rows come before what was shown."""
    if not shown:
        return 0
    return sum(rank(values) < rank(shown) for values in page.places)


def _is_used_up(page: CellPage, taken: int) -> bool:
    """Whether its next row is not known, though there is one."""
    return page.more and taken == len(page.rows)


def _in_order(
    pages: Mapping[str, CellPage], taken: Mapping[str, int], rank: Callable[[Values], Any]
) -> Iterator[tuple[str, Values]]:
    if any(_is_used_up(page, taken[name]) for name, page in pages.items()):
        return iter(())
    every = [
        (name, values) for name, page in pages.items() for values in page.places[taken[name] :]
    ]
    return iter(sorted(every, key=lambda each: rank(each[1])))


def _comparing(sort: str) -> Callable[[Values, Values], int]:
    descending = [word.startswith("-") for word in split_list(sort)]

    def compare(one: Values, other: Values) -> int:
        for nth, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            if mine == theirs:
                continue
            if mine is None or theirs is None:  # what is missing comes last in every direction
                return 1 if mine is None else -1
            falls = descending[min(nth, len(descending) - 1)]
            return (1 if mine < theirs else -1) if falls else (-1 if mine < theirs else 1)
        return 0

    return compare


def _place(
    page: CellPage,
    taken: int,
    last: Values,
    before: str | None,
    rank: Callable[[Values], Any],
) -> str | None:
    """Behind the last row that is shown, of whichever log: what comes to be before it is not shown any more. Behind
    the last one of its own, or where it began, if that is later, or if the next row stands at the very same place as
    the last one, as two logs have an id in common.
    """
    own = page.cursors[taken - 1] if taken else before
    known = own or next(iter(page.cursors), None)
    if known is None:
        return NOTHING_YET
    if not last or (taken < len(page.rows) and page.places[taken] == last):
        return own
    if own and rank(_values(own)) >= rank(last):
        return own
    sort, condition, *_ = unpacked(known)
    return packed([sort, condition, *last])


def _values(cursor: str) -> Values:
    return list(unpacked(cursor)[2:])


def decode(cursor: str | None, names: Sequence[str], sort: str) -> Places:
    """Where each log goes on; without a cursor from the beginning.

    Raises:
        Invalid: it was not made here, or for another sort, or names a log that is not asked.
    """
    if cursor is None:
        return dict.fromkeys(names)
    try:
        places = unpacked(cursor)
        if not isinstance(places, dict) or not places or not set(places) <= set(names):
            raise ValueError(cursor)
        if not all(place is None or isinstance(place, str) for place in places.values()):
            raise ValueError(cursor)
        if any(unpacked(place)[0] != sort for place in places.values() if place):
            raise ValueError(cursor)
        _furthest(places, sort)
    except (ValueError, TypeError, LookupError) as error:
        raise Invalid.field(
            "cursor", "must be `nextCursor` of a page of the same logs, sort and filter"
        ) from error
    return places
