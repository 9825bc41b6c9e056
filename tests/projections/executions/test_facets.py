"""Facets equal the counts computed in Python from the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from projections.executions import facets
from projections.executions.columns import field
from projections.query.ast import EVERYTHING, And
from projections.query.parser import from_json
from tests.projections.query.test_filters import Deep, Sample, comparisons, conditions
from tests.support.examples import at_most
from tests.support.filter_model import document_matches, values

FACETS = (
    "status",
    "service",
    "assignee.type",
    "error.code",
    "priority",
    "error.recoverable",
    "tags",
    "metadata.region",
    "metadata.deep.x",
    "workflow",
)


@pytest.fixture(scope="module")
def known(module_views: str) -> Iterator[Sample]:
    made = Sample(module_views)
    yield made
    made.close()


def count_in_python(documents: list[Deep], path: str) -> Counter[str]:
    """The number of documents with each value, as JSON; elements of lists and objects are not counted."""
    found: Counter[str] = Counter()
    for document in documents:
        shown = [one for one in values(document, path) if not isinstance(one, list | dict)]
        found.update(orjson.dumps(one).decode() for one in shown or [None])
    return found


def facets_of(
    known: Sample, names: tuple[str, ...], condition: Any, total: int | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = known.run(
        facets.count_values(known.connection, facets.parse_fields(names), condition, total)
    )
    return found


def test_facets_equal_those_counted_in_python(known: Sample) -> None:
    @at_most(50)
    @given(
        st.recursive(comparisons(), conditions, max_leaves=3) | st.just({}),
        st.lists(st.sampled_from(FACETS), unique=True, min_size=1).map(tuple),
        st.booleans(),
    )
    def agree(asked: Deep, names: tuple[str, ...], total_is_known: bool) -> None:
        met = [document for document in known.documents if document_matches(document, asked)]
        total = len(met) if total_is_known else None
        found = facets_of(known, names, from_json(asked, field), total)
        assert list(found) == list(names)
        for name in names:
            counts = [
                (orjson.dumps(v["value"]).decode(), v["count"]) for v in found[name]["values"]
            ]
            assert Counter(dict(counts)) == count_in_python(met, name)
            assert [n for _, n in counts] == sorted((n for _, n in counts), reverse=True)

    agree()


def test_facets_are_narrowed_by_the_scope(known: Sample) -> None:
    scope = from_json({"customer": "c-1"}, field)
    found = facets_of(known, ("customer",), And((scope, EVERYTHING)))
    assert [one["value"] for one in found["customer"]["values"]] == ["c-1"]


@pytest.mark.parametrize(("name", "most"), [("order", 2), ("tags", 2), ("error.code", 1)])
def test_rarest_facet_values_are_summed_as_the_rest(
    known: Sample, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(facets, "MOST_VALUES", most)
    whole = count_in_python(known.documents, name)
    found = facets_of(known, (name,), EVERYTHING, len(known.documents))[name]
    assert len(found["values"]) == most
    shown = sum(value["count"] for value in found["values"])
    assert found["rest"] == {"values": len(whole) - most, "count": whole.total() - shown}


@pytest.mark.parametrize(
    "names",
    [
        ["progress"],
        ["nothing"],
        ["metadata.createdAt"],
        ["status", "status"],
        ["tag", "tags"],
        [*FACETS, "error.step"],
    ],
)
def test_invalid_facets_are_refused(names: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        facets.parse_fields(names)
    assert refused.value.members["errors"][0]["path"] == "facets"
