"""Merges a page of each of several logs into one page, in the exact order, with one cursor.

The next row of a log that has more may precede the rows of the others. So a merged page ends where the rows of a log
end that has more. The merged cursor has a cursor of every log, also of a log without further rows: rows that are added
behind that cursor later are still shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import ceil, sqrt
from operator import itemgetter
from typing import Any, NamedTuple

from api.cells.order import CellOrder, OtherOrder, Values
from api.cells.remote import Away
from api.cells.rows import split
from domain.errors import Invalid
from projections.query.pagination import decode_cursor, encode_cursor

LogCursors = dict[str, str | None]
"""The cursor after which each log continues; None for the beginning, as the log has not answered yet."""
OTHER_BUILD = "its server is of another build, which orders this list by other fields"
NOTHING_YET = ""
"""The cursor of a log that had no rows: it continues behind the rows that were shown of the others."""


class CellPage(NamedTuple):
    """A page of one log: rows, the cursor behind each row, the values in it and their rank, whether there are more rows,
    and the total, if it was asked for.
    """

    rows: Sequence[Any]
    cursors: Sequence[str]
    sort_values: Sequence[Values]
    ranks: Sequence[Any]
    more: bool
    total: int | None = None

    @classmethod
    def of(cls, order: CellOrder, text: bytes) -> CellPage:
        """Parse the answer of a log.

        Raises:
            Away: the page is in another order, and cannot be merged.
            ValueError, TypeError, LookupError: the text is no page.
        """
        rows, body = split(text)
        cursors, given = body["cursors"], body.get("sortValues")
        try:
            if given is None:  # from a build whose pages have only cursors
                sort_values = [order.decode(cursor) for cursor in cursors]
            else:
                sort_values = [order.check(values) for values in given]
            ranks = order.ranks(sort_values)
        except OtherOrder:
            raise Away(OTHER_BUILD) from None
        if not len(rows) == len(cursors) == len(ranks):
            raise ValueError("the page does not have a cursor behind each row")
        return cls(rows, cursors, sort_values, ranks, body["hasMore"], body.get("total"))

    def append(self, other: CellPage) -> CellPage:
        """Concatenate this page and the next one of the same log."""
        return CellPage(
            [*self.rows, *other.rows],
            [*self.cursors, *other.cursors],
            [*self.sort_values, *other.sort_values],
            [*self.ranks, *other.ranks],
            other.more,
            self.total,
        )


class MergedPage(NamedTuple):
    """Rows with the names of their logs, the cursor of each log, whether a log has more rows, and the log of which the
    next page is needed to continue (`dry`).
    """

    rows: list[tuple[str, Any]]
    cursors: LogCursors
    more: bool
    dry: str | None = None


def share(limit: int, logs: int) -> int:
    """The rows that each of several logs is asked for at first: an equal share of a page, and two standard deviations of
    the number that a log has of it, where each row is of any log by chance.
    """
    even = limit / logs
    return min(limit, ceil(even + 2 * sqrt(even * (1 - 1 / logs))))


def merge(
    pages: Mapping[str, CellPage], before: LogCursors, order: CellOrder, limit: int
) -> MergedPage:
    """Merge the first rows of all pages. `before` has the cursors at which all logs began, including logs without a page,
    as they did not answer.
    """
    shown = _last_shown(before, order)
    taken = {
        name: _count_passed(page, shown, order) if before[name] == NOTHING_YET else 0
        for name, page in pages.items()
    }
    rows: list[tuple[str, Any]] = []
    last: Values = ()
    dry = next((name for name, page in pages.items() if _is_used_up(page, taken[name])), None)
    for name, values in islice(_in_order(pages, taken), 0 if dry else limit):
        rows.append((name, pages[name].rows[taken[name]]))
        taken[name], last = taken[name] + 1, values
        if _is_used_up(pages[name], taken[name]):
            dry = name
            break
    cursors = {}
    for name, page in pages.items():
        reached = shown if before[name] == NOTHING_YET and not last else last
        cursors[name] = _next_cursor(page, taken[name], reached, before[name], order)
    more = any(page.more or taken[name] < len(page.rows) for name, page in pages.items())
    return MergedPage(rows, before | cursors, more, dry if len(rows) < limit else None)


def _last_shown(cursors: LogCursors, order: CellOrder) -> Values:
    """The sort values of the last row that was shown, of any log."""
    reached = [order.decode(cursor) for cursor in cursors.values() if cursor]
    return max(reached, key=order.rank, default=())


def _count_passed(page: CellPage, shown: Values, order: CellOrder) -> int:
    """The number of rows of a page that precede the last row that was shown."""
    if not shown:
        return 0
    last = order.rank(shown)
    return sum(rank < last for rank in page.ranks)


def _is_used_up(page: CellPage, taken: int) -> bool:
    """Whether all rows of a page are taken, and its log has more."""
    return page.more and taken == len(page.rows)


def _in_order(
    pages: Mapping[str, CellPage], taken: Mapping[str, int]
) -> Iterator[tuple[str, Values]]:
    """The rows that are not taken, as the name of the log and the sort values, in the order of all logs."""
    candidates = [
        (rank, name, values)
        for name, page in pages.items()
        for rank, values in zip(
            page.ranks[taken[name] :], page.sort_values[taken[name] :], strict=True
        )
    ]
    candidates.sort(key=itemgetter(0))
    return (candidate[1:] for candidate in candidates)


def _next_cursor(
    page: CellPage,
    taken: int,
    last: Values,
    before: str | None,
    order: CellOrder,
) -> str | None:
    """The cursor after which a log continues: behind the last row shown of any log, so that rows that are added before it
    are not shown. If that is later, the cursor behind the log's own last row, or the one before the page; also where the
    next row has the same sort values as the last one, as two logs have an id in common.
    """
    own = page.cursors[taken - 1] if taken else before
    known = own or next(iter(page.cursors), None)
    if known is None:
        return NOTHING_YET
    if not last or (taken < len(page.rows) and page.sort_values[taken] == last):
        return own
    if own and not order.rank(order.decode(own)) < order.rank(last):
        return own
    sort, condition, *_ = decode_cursor(known)
    return encode_cursor([sort, condition, *last])


def decode(cursor: str | None, names: Sequence[str], order: CellOrder) -> LogCursors:
    """The cursor of each log in a merged cursor; the beginning of each log without one.

    Raises:
        Invalid: the cursor is malformed, is of another sort, or names a log that is not asked.
    """
    if cursor is None:
        return dict.fromkeys(names)
    try:
        cursors = decode_cursor(cursor)
        if not isinstance(cursors, dict) or not cursors or not set(cursors) <= set(names):
            raise ValueError(cursor)
        if not all(cursor is None or isinstance(cursor, str) for cursor in cursors.values()):
            raise ValueError(cursor)
        _last_shown(cursors, order)
    except (ValueError, TypeError, LookupError, OtherOrder) as error:
        raise Invalid.field(
            "cursor", "must be `nextCursor` of a page of the same logs, sort and filter"
        ) from error
    return cursors
