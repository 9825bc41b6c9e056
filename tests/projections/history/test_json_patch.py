"""Patches lead exactly from one document to the other, and each operation names its cause."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from projections.history.json_patch import Blame, Caused, changes
from projections.representations.execution import document
from tests.support.json_patches import apply_patch, same
from tests.support.random_executions import creations, walk, ways

names = st.text("ab/~0", max_size=2)
leaves = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.5]) | names
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"id": names, "v": inner}), max_size=4)
        | st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)
documents = st.fixed_dictionaries(
    {
        "steps": st.lists(
            st.fixed_dictionaries({"id": st.sampled_from("abcd"), "v": values}),
            unique_by=lambda step: str(step["id"]),
        ),
        "more": values,
    }
)


def patch_with_causes(versions: list[Any]) -> list[Caused[int]]:
    """The patch from the first to the last document; a cause is the number of its version."""
    blame: Blame[int] = Blame()
    for number, (before, after) in enumerate(pairwise(versions), 2):
        blame.note(number, before, after)
    return list(blame.patch(versions[0], versions[-1]))


def operations(versions: list[Any]) -> list[tuple[str, str, Any, int]]:
    return [
        (c.change.op, c.change.path, c.change.value, c.cause) for c in patch_with_causes(versions)
    ]


@given(values, values)
def test_changes_lead_from_any_value_to_any_other(before: Any, after: Any) -> None:
    assert same(apply_patch(before, list(changes(before, after))), after)


@given(st.lists(documents, min_size=2, max_size=6))
def test_patch_leads_from_the_first_version_to_the_last(versions: list[Any]) -> None:
    patch = patch_with_causes(versions)
    assert same(apply_patch(versions[0], [caused.change for caused in patch]), versions[-1])
    assert all(2 <= caused.cause <= len(versions) for caused in patch)


@given(creations, ways, st.data())
def test_patch_leads_between_any_two_versions_of_an_execution(
    creation: Any, way: list[Any], data: st.DataObject
) -> None:
    versions = [document(versioned, versioned.at) for versioned in walk(creation, way).states]
    first = data.draw(st.integers(0, len(versions) - 1))
    last = data.draw(st.integers(first, len(versions) - 1))
    patch = patch_with_causes(versions[first : last + 1])
    changed = apply_patch(versions[first], [caused.change for caused in patch])
    assert same(changed, versions[last])
    by_path = {caused.change.path: caused.cause for caused in patch}
    statuses = [version["status"] for version in versions[first : last + 1]]
    if "/status" in by_path:
        turns = [n for n, (old, new) in enumerate(pairwise(statuses), 2) if old != new]
        assert by_path["/status"] == turns[-1]
    else:
        assert statuses[0] == statuses[-1]


def test_last_of_several_changes_at_a_path_is_the_cause() -> None:
    assert operations([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}]) == [("replace", "/a", 3, 3)]


def test_change_that_was_undone_makes_no_operation() -> None:
    assert operations([{"a": 1}, {"a": 2}, {"a": 1}]) == []


def test_value_added_and_changed_later_has_two_causes() -> None:
    added = {"steps": [{"id": "x", "status": "pending"}]}
    done = {"steps": [{"id": "x", "status": "completed", "output": 7}]}
    assert operations([{"steps": []}, added, done]) == [
        ("add", "/steps/0", {"id": "x"}, 2),
        ("add", "/steps/0/status", "completed", 3),
        ("add", "/steps/0/output", 7, 3),
    ]


def test_items_that_move_up_are_not_changed() -> None:
    window = [[{"id": str(n), "at": n} for n in range(k, k + 3)] for k in range(3)]
    assert operations([{"checkpoints": items} for items in window]) == [
        ("remove", "/checkpoints/1", None, 3),
        ("remove", "/checkpoints/0", None, 2),
        ("add", "/checkpoints/1", {"id": "3", "at": 3}, 2),
        ("add", "/checkpoints/2", {"id": "4", "at": 4}, 3),
    ]


@pytest.mark.parametrize("name", ["a/b", "~", "~1", "/", ""])
def test_names_are_escaped_as_json_pointers(name: str) -> None:
    before, after = {name: {"x": 1}}, {name: {"x": 2}}
    assert same(apply_patch(before, list(changes(before, after))), after)
