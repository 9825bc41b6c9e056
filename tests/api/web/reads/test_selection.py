"""The parameter `fields` selects members of a document."""

from __future__ import annotations

from typing import Any

import pytest

from api.web.reads.selection import MOST_FIELDS, selection
from domain.errors import Invalid

DOCUMENT: dict[str, Any] = {
    "$id": "e-1",
    "status": "running",
    "steps": [{"id": "a", "status": "completed"}, {"id": "b", "status": "running"}],
    "metrics": {"tokensUsed": 5, "cost": 0.5},
}


def select(*names: str) -> Any:
    chosen = selection(names)
    return chosen.of(DOCUMENT) if chosen else DOCUMENT


def test_document_is_whole_without_fields() -> None:
    assert select() is DOCUMENT


def test_member_of_a_list_is_selected_in_each_of_its_elements() -> None:
    assert select("status", "steps.id") == {
        "status": "running",
        "steps": [{"id": "a"}, {"id": "b"}],
    }


@pytest.mark.parametrize("names", [("metrics", "metrics.cost"), ("metrics.cost", "metrics")])
def test_member_that_is_selected_as_a_whole_is_whole(names: tuple[str, ...]) -> None:
    assert select(*names) == {"metrics": DOCUMENT["metrics"]}


def test_member_that_the_document_lacks_is_left_out() -> None:
    assert select("$id", "error.code") == {"$id": "e-1"}


def test_at_most_100_members_can_be_selected() -> None:
    assert MOST_FIELDS == 100
    assert selection(["status"] * 100) is not None
    with pytest.raises(Invalid, match="at most 100 members"):
        selection(["status"] * 101)


def test_unknown_member_is_refused_by_its_name() -> None:
    with pytest.raises(Invalid) as refused:
        selection(["status", "steps.nonsense"])
    [error] = refused.value.members["errors"]
    assert error["path"] == "fields"
    assert "names `steps.nonsense`, which is no member of an execution" in error["message"]
