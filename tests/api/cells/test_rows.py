"""Rows of other logs are passed on as the received bytes, or refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cells.rows import of_cell, split
from api.web.responses import page

TEXTS = st.text(st.sampled_from('"\\\\{}[],:é'), max_size=6)
DOCUMENTS = st.lists(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS), max_size=3), max_size=4)


@given(DOCUMENTS, st.booleans())
def test_rows_equal_those_of_the_page_byte_for_byte(
    documents: list[dict[str, Any]], lengths: bool
) -> None:
    items = [*map(orjson.dumps, documents)]
    text = page(items, None, 7, members={"cursors": ["x"]}, lengths=lengths)
    rest = {"hasMore": False, "nextCursor": None, "cursors": ["x"], "total": 7}
    assert split(text) == (items, rest)


@given(st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_row_has_the_name_of_its_log_as_its_first_member(document: dict[str, Any]) -> None:
    shown = orjson.loads(of_cell("north", orjson.dumps(document)))
    assert list(shown.items()) == [("cell", "north"), *document.items()]


@pytest.mark.parametrize(
    "text",
    [
        b'{"lengths":[2],"data":[[]],"hasMore":false}',
        b'{"lengths":[3],"data":[{}],"hasMore":false}',
        b'{"lengths":[1],"data":[{}],"hasMore":false}',
        b'{"lengths":[2,2],"data":[{}],"hasMore":false}',
        b'{"lengths":[2,2],"data":[{} {}],"hasMore":false}',
        b'{"lengths":[-2],"data":[{}],"hasMore":false}',
        b'{"lengths":["2"],"data":[{}],"hasMore":false}',
        b'{"lengths":[2],"rows":[{}],"data":[{}]}',
        b'{"lengths":2,"data":[{}]}',
    ],
)
def test_page_with_wrong_lengths_of_rows_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        split(text)
