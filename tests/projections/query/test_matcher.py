"""Filters on states in memory, without the database."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from domain.model import Versioned
from projections.executions.columns import field, value_in
from projections.query.ast import Field
from projections.query.matcher import by_parties, find_required_values, matches, parties_suffice
from projections.query.parser import from_json
from tests.support.given import NOON, given
from tests.support.histories import CREATED

METADATA = {"flag": True, "amount": 5, "region": "north", "deep": {"x": "y"}}
HELD = Versioned(
    given(CREATED.model_copy(update={"tags": ("eu", "us"), "metadata": METADATA})).state,
    version=1,
    position=1,
    at=NOON,
)

CELLS: list[tuple[dict[str, Any], bool]] = [
    ({"status": "queued"}, True),
    ({"status": "running"}, False),
    ({"status": {"$in": ["running", "queued"]}}, True),
    ({"metadata.flag": True}, True),
    ({"metadata.flag": False}, False),
    ({"metadata.flag": 1}, False),
    ({"metadata.amount": 5}, True),
    ({"metadata.amount": 5.0}, True),
    ({"metadata.amount": True}, False),
    ({"metadata.amount": {"$gt": 4}}, True),
    ({"metadata.amount": {"$gt": 5}}, False),
    ({"metadata.amount": {"$gte": 5}}, True),
    ({"metadata.amount": {"$lt": 5}}, False),
    ({"metadata.amount": {"$lte": 5}}, True),
    ({"metadata.amount": {"$gt": "4"}}, False),
    ({"metadata.flag": {"$gt": 0}}, False),
    ({"metadata.nothing": {"$gt": 0}}, False),
    ({"metadata.nothing": {"$lt": 0}}, False),
    ({"metadata.nothing": {"$exists": False}}, True),
    ({"metadata.amount": {"$gt": 4.5}}, True),
    ({"metadata.region": {"$gt": "m"}}, True),
    ({"metadata.region": {"$gt": "o"}}, False),
    ({"metadata.region": {"$exists": True}}, True),
    ({"metadata.region": {"$prefix": "no"}}, True),
    ({"metadata.region": {"$prefix": "so"}}, False),
    ({"metadata.amount": {"$prefix": "5"}}, False),
    ({"metadata.deep.x": "y"}, True),
    ({"metadata.deep.x.z": "y"}, False),
    ({"tag": "eu"}, True),
    ({"tag": "e"}, False),
    ({"tag": {"$prefix": "e"}}, True),
    ({"tag": {"$prefix": "x"}}, False),
    ({"tag": ["asia", None]}, False),
    ({"tag": ["asia", "eu"]}, True),
    ({"tag": None}, False),
    ({"$not": {"tag": "eu"}}, False),
    ({"$or": [{"status": "running"}, {"tag": "us"}]}, True),
    ({"$and": [{"status": "queued"}, {"tag": "asia"}]}, False),
]


@pytest.mark.parametrize(("asked", "found"), CELLS, ids=[str(asked) for asked, _ in CELLS])
def test_condition_matches_a_state_by_the_filter_language(
    asked: dict[str, Any], found: bool
) -> None:
    assert matches(from_json(asked, field), value_in(HELD)) is found


@pytest.mark.parametrize(
    ("asked", "found"),
    [({"tag": ["eu", None]}, True), ({"tag": None}, True), ({"tag": ["eu", "us"]}, False)],
)
def test_execution_without_tags_is_found_by_null(asked: dict[str, Any], *, found: bool) -> None:
    untagged = HELD._replace(state=given(CREATED.model_copy(update={"tags": ()})).state)
    assert matches(from_json(asked, field), value_in(untagged)) is found


@pytest.mark.parametrize(
    ("asked", "suffice"),
    [
        ({"customer": "c"}, True),
        ({"customer": "c", "provider": "p"}, True),
        ({"$or": [{"customer": "c"}, {"provider": "p"}]}, True),
        ({"$not": {"customer": "c"}}, True),
        ({"customer": "c", "tag": "eu"}, False),
        ({"$not": {"tag": "eu"}}, False),
        ({"$or": [{"customer": "c"}, {"$not": {"status": "queued"}}]}, False),
    ],
)
def test_parties_suffice_if_no_other_field_is_compared(
    asked: dict[str, Any], *, suffice: bool
) -> None:
    assert parties_suffice(from_json(asked, field)) is suffice


@pytest.mark.parametrize(
    ("asked", "required"),
    [
        ({"customer": "c"}, (("customer", "c"),)),
        ({"customer": ["c", "d"]}, (("customer", "c"), ("customer", "d"))),
        ({"tag": "eu", "provider": "p"}, (("provider", "p"),)),
        ({"tag": "eu"}, ()),
        ({"customer": ["c", None]}, ()),
        ({"customer": {"$prefix": "c"}}, ()),
        ({"$or": [{"customer": "c"}, {"tag": "eu"}]}, ()),
        (
            {"$or": [{"customer": "c"}, {"provider": "p", "tag": "eu"}]},
            (("customer", "c"), ("provider", "p")),
        ),
        ({"$not": {"customer": "c"}}, ()),
    ],
)
def test_party_is_required_if_every_match_has_one_of_them(
    asked: dict[str, Any], required: tuple[tuple[str, str], ...]
) -> None:
    assert find_required_values(from_json(asked, field)) == required


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"customer": "c"}, {"customer": "c"}),
        ({"customer": "c", "tag": "eu"}, None),
        ({"$not": {"status": "queued"}}, None),
        ({"$or": [{"customer": "c"}, {"assignee.id": "ann"}]}, {"customer": "c"}),
    ],
)
def test_condition_is_reduced_to_its_comparisons_of_parties(
    asked: dict[str, Any], left: dict[str, Any] | None
) -> None:
    found = by_parties(from_json(asked, field))
    reached = [
        customer
        for customer in ("c", "d")
        if matches(found, partial(_party, {"customer": customer, "provider": "p"}))
    ]
    assert reached == ([] if left is None else [left["customer"]])


def _party(parties: dict[str, str], wanted: Field) -> str | None:
    return parties.get(wanted.path)
