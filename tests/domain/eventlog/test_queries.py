"""The SQL of the log is in one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domain.eventlog.codec import EventRow
from domain.eventlog.queries import COLUMNS

HOUSE = Path(__file__).parent.parent
ONE_PLACE = "domain.eventlog.queries.py"
LIBRARY = "domain/recorder.py"
"""The log as a persistence module of `eventsourcing`, with SQL of its own."""
NAMES_IT = re.compile(r"(?:FROM|INTO|UPDATE|JOIN) events\b|(?:FROM|INTO) snapshots\b|originator_")
FILES = sorted(
    file for room in ("domain", "projections", "api") for file in HOUSE.glob(f"{room}/**/*.py")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_events_table_is_named_in_a_single_file(file: Path) -> None:
    name = file.relative_to(HOUSE).as_posix()
    assert bool(NAMES_IT.search(file.read_text())) == (name in {ONE_PLACE, LIBRARY})


def test_query_columns_match_the_fields_of_a_row() -> None:
    assert len(COLUMNS.split(", ")) == len(EventRow._fields)
