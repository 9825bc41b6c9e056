"""Pages of several logs as one: exact, whatever is written meanwhile."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cells.merge import CellPage, Places, _encoded, decode, encode, merged
from domain.errors import Invalid

Row = tuple[int | None, str]
ROWS = st.dictionaries(
    st.sampled_from(["east", "north", "south"]),
    st.lists(
        st.tuples(st.none() | st.integers(0, 3), st.sampled_from("abcdefgh")),
        max_size=12,
        unique_by=lambda row: row[1],
    ),
    min_size=1,
)
SORTS = st.sampled_from(["priority", "-priority", "priority,$id", "-priority,$id"])


def ranked(rows: list[Row], sort: str) -> list[Row]:
    """As a log orders them: by number, what has none behind; then by id, in the last direction."""
    words = [*sort.split(",")]
    ids_fall = words[-1].startswith("-")
    rows = sorted(rows, key=lambda row: row[1], reverse=ids_fall)
    numbered = [row for row in rows if row[0] is not None]
    numbered.sort(key=lambda row: row[0] or 0, reverse=words[0].startswith("-"))
    return [*numbered, *(row for row in rows if row[0] is None)]


def page(rows: list[Row], sort: str, place: str | None, limit: int) -> CellPage:
    """What a log answers."""
    every = ranked(rows, sort)
    if place is not None:
        last = tuple(orjson.loads(decoded(place))[2:])
        every = ranked([*{*every, last}], sort)
        every = every[every.index(last) + 1 :]
    cursors = [_encoded([sort, "condition", *row]) for row in every[:limit]]
    return CellPage(every[:limit], cursors, len(every) > limit)


def decoded(cursor: str) -> bytes:
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


@given(ROWS, SORTS, st.integers(1, 5), st.integers(1, 5))
def test_pages_have_every_row_once_and_in_order(
    cells: dict[str, list[Row]], sort: str, limit: int, theirs: int
) -> None:
    """`theirs`: a log may answer fewer rows than it is asked for, as it ends a page by bytes, too."""
    places: Places | None = dict.fromkeys(cells)
    shown: list[tuple[str, Row]] = []
    while places:
        pages = {
            name: page(cells[name], sort, place, min(limit, theirs))
            for name, place in places.items()
        }
        found = merged(pages, places, sort, limit)
        assert len(found.rows) <= limit
        shown += found.rows
        cursor = encode(found.places)
        places = None if cursor is None else decode(cursor, list(cells))
    every = [(name, row) for name, rows in cells.items() for row in rows]
    assert sorted(shown, key=repr) == sorted(every, key=repr)
    order = [row for _, row in shown]
    assert order == ranked(order, sort)


def test_row_that_comes_to_be_before_the_page_is_not_shown_any_more() -> None:
    cells: dict[str, list[Row]] = {"north": [(1, "a"), (3, "b")], "south": [(4, "c")]}
    first = merged(
        {n: page(r, "priority", None, 2) for n, r in cells.items()},
        dict.fromkeys(cells),
        "priority",
        2,
    )
    cells["south"].append((2, "d"))
    again = {n: page(cells[n], "priority", place, 2) for n, place in first.places.items()}
    assert [row for _, row in first.rows] == [(1, "a"), (3, "b")]
    assert merged(again, first.places, "priority", 2).rows == [("south", (4, "c"))]


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "e30", _encoded([1]), _encoded({"west": None}), _encoded({"north": 1})]
)
def test_cursor_that_was_not_made_here_is_refused(cursor: Any) -> None:
    with pytest.raises(Invalid, match="cursor"):
        decode(cursor, ["north", "south"])
