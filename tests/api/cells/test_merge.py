"""Pages of several logs are merged exactly, also while rows are written."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cells.merge import CellPage, LogCursors, MergedPage, decode, merge
from api.cells.order import CellOrder
from domain.errors import Invalid
from projections.query.ast import Field
from projections.query.field_paths import split_list
from projections.query.field_types import TEXT, WHOLE
from projections.query.pagination import SortKey, decode_cursor, encode_cursor

Row = tuple[int | None, str]
CELLS = ["north", "south"]
NO_PLACES: list[Any] = [{}, [], ["other", "condition", 1, "a"]]
ROWS = st.dictionaries(
    st.sampled_from(["east", "north", "south"]),
    st.lists(
        st.tuples(st.none() | st.integers(0, 3), st.sampled_from("abcdefgh")),
        max_size=12,
        unique_by=lambda row: row[1],
    ),
    min_size=1,
)
FIELDS = {
    path: Field(path, path, kind, nullable=path == "priority")
    for path, kind in (("priority", WHOLE), ("$id", TEXT))
}
SORTS = st.sampled_from(["priority", "-priority", "priority,$id", "-priority,$id"])


def order(sort: str) -> CellOrder:
    """The order of a log whose rows have only a number and an id."""
    words = split_list(sort)
    keys = [SortKey(FIELDS[word.removeprefix("-")], word.startswith("-")) for word in words]
    if len(keys) == 1:
        keys.append(SortKey(FIELDS["$id"], keys[0].descending))
    return CellOrder(sort, keys)


def sort_rows(rows: list[Row], sort: str) -> list[Row]:
    """Sort rows as a log does: by number, rows without one last; then by id, in the last direction."""
    words = [*sort.split(",")]
    ids_fall = words[-1].startswith("-")
    rows = sorted(rows, key=lambda row: row[1], reverse=ids_fall)
    numbered = [row for row in rows if row[0] is not None]
    numbered.sort(key=lambda row: row[0] or 0, reverse=words[0].startswith("-"))
    return [*numbered, *(row for row in rows if row[0] is None)]


def page(rows: list[Row], sort: str, cursor: str | None, limit: int) -> CellPage:
    """The page that a log answers."""
    every = sort_rows(rows, sort)
    if cursor:
        last = tuple(decode_cursor(cursor)[2:])
        every = sort_rows([*{*every, last}], sort)
        every = every[every.index(last) + 1 :]
    cursors = [encode_cursor([sort, "condition", *row]) for row in every[:limit]]
    sort_values = [list(row) for row in every[:limit]]
    ranks = order(sort).ranks(sort_values)
    return CellPage(every[:limit], cursors, sort_values, ranks, len(every) > limit)


def read_page(
    cells: dict[str, list[Row]],
    cursors: LogCursors,
    sort: str,
    limit: int,
    *,
    theirs: int = 100,
    away: AbstractSet[str] = frozenset(),
) -> MergedPage:
    """A page of all logs. `theirs`: a log may answer fewer rows than the limit, as it also limits the bytes of a page."""
    pages = {
        name: page(cells[name], sort, cursor, min(limit, theirs))
        for name, cursor in cursors.items()
        if name not in away
    }
    found = merge(pages, cursors, order(sort), limit)
    return found._replace(cursors=decode(encode_cursor(found.cursors), list(cells), order(sort)))


@given(ROWS, SORTS, st.integers(1, 5), st.integers(1, 5))
def test_pages_have_every_row_once_and_in_order(
    cells: dict[str, list[Row]], sort: str, limit: int, theirs: int
) -> None:
    found = read_page(cells, dict.fromkeys(cells), sort, limit, theirs=theirs)
    shown = found.rows
    while found.more:
        found = read_page(cells, found.cursors, sort, limit, theirs=theirs)
        assert len(found.rows) <= limit
        shown += found.rows
    every = [(name, row) for name, rows in cells.items() for row in rows]
    assert sorted(shown, key=repr) == sorted(every, key=repr)
    in_order = [row for _, row in shown]
    assert in_order == sort_rows(in_order, sort)


AWAY = st.lists(st.sets(st.sampled_from(["east", "north", "south"])), max_size=10)


@given(ROWS, SORTS, st.integers(1, 5), AWAY)
def test_logs_that_are_unavailable_at_times_show_each_of_their_rows_once_and_in_order(
    cells: dict[str, list[Row]], sort: str, limit: int, away: list[set[str]]
) -> None:
    cursors: LogCursors = dict.fromkeys(cells)
    shown: list[tuple[str, Row]] = []
    more = True
    while more:
        missing = away.pop() & set(cells) if away else set()
        found = read_page(cells, cursors, sort, limit, away=missing)
        cursors, more = found.cursors, found.more or bool(missing)
        shown += found.rows
    for name, rows in cells.items():
        assert [row for cell, row in shown if cell == name] == sort_rows(rows, sort)


def test_log_that_is_available_again_repeats_no_row_of_another_log() -> None:
    cells: dict[str, list[Row]] = {"north": [(8, "n"), (9, "m")], "south": [(1, "a"), (2, "b")]}
    first = read_page(cells, dict.fromkeys(cells), "-priority", 1, away={"north"})
    second = read_page(cells, first.cursors, "-priority", 2)
    third = read_page(cells, second.cursors, "-priority", 2)
    assert [page.rows for page in (first, second, third)] == [
        [("south", (2, "b"))],
        [("north", (9, "m")), ("north", (8, "n"))],
        [("south", (1, "a"))],
    ]


def test_row_that_is_written_before_the_page_is_not_shown() -> None:
    cells: dict[str, list[Row]] = {"north": [(1, "a"), (3, "b")], "south": [(4, "c")]}
    first = read_page(cells, dict.fromkeys(cells), "priority", 2)
    cells["south"].append((2, "d"))
    assert [row for _, row in first.rows] == [(1, "a"), (3, "b")]
    assert read_page(cells, first.cursors, "priority", 2).rows == [("south", (4, "c"))]


@pytest.mark.parametrize("theirs", [1, 5])
@pytest.mark.parametrize("before", [[], [(1, "a")]])
def test_row_that_is_written_behind_the_page_in_a_log_without_more_rows_is_shown(
    before: list[Row], theirs: int
) -> None:
    cells: dict[str, list[Row]] = {"north": before, "south": [(2, "b"), (3, "c"), (6, "f")]}
    found = read_page(cells, dict.fromkeys(cells), "priority", 2, theirs=theirs)
    while found.rows[-1] != ("south", (3, "c")):
        found = read_page(cells, found.cursors, "priority", 1)
    cells["north"] = [*before, (0, "e"), (1, "d"), (4, "d")]
    rest = []
    while found.more:
        found = read_page(cells, found.cursors, "priority", 1, theirs=theirs)
        rest += found.rows
    assert rest == [("north", (4, "d")), ("south", (6, "f"))]


@pytest.mark.parametrize(
    "cursor",
    [
        *(
            "",
            "x",
            "é",
            "e30",
            encode_cursor([1]),
            encode_cursor({"west": None}),
            encode_cursor({"north": 1}),
        ),
        *(encode_cursor({"north": encode_cursor(cursor)}) for cursor in NO_PLACES),
        encode_cursor(
            {
                "north": encode_cursor(["priority", "", 1]),
                "south": encode_cursor(["priority", "", 1, "a"]),
            }
        ),
    ],
)
def test_invalid_cursor_is_refused(cursor: Any) -> None:
    with pytest.raises(Invalid, match="cursor"):
        decode(cursor, CELLS, order("priority"))
