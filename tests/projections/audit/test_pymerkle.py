"""Roots and proofs agree with pymerkle, another implementation of RFC 9162: each accepts those of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import hypothesis
import hypothesis.strategies as st
import pytest
from pymerkle import (  # type: ignore[import-untyped]  # it has no types
    InmemoryTree,
    verify_consistency,
    verify_inclusion,
)

from domain.eventlog.codec import EventRow
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import (
    EMPTY_ROOT,
    Node,
    consistency_path,
    inclusion_path,
    join,
    leaf_hash,
    root,
)
from projections.audit.proofs import root_of_inclusion, roots_of_consistency
from tests.support.audited_log import AuditedLog, event

MOST = 300
ENTRIES = [b"entry %d" % number for number in range(MOST)]
LEAVES = list(map(leaf_hash, ENTRIES))
THEIRS = InmemoryTree.init_from_entries(ENTRIES, algorithm="sha256")
SIZES = st.tuples(st.integers(1, MOST), st.integers(1, MOST)).map(sorted)


def node(wanted: Node) -> bytes:
    level, index = wanted
    return join(LEAVES[index << level : index + 1 << level])


def test_root_of_no_leaves_equals_that_of_pymerkle() -> None:
    assert THEIRS.get_root(0) == EMPTY_ROOT


@hypothesis.given(st.integers(1, MOST))
def test_root_of_every_size_equals_that_of_pymerkle(size: int) -> None:
    assert root(size, node) == THEIRS.get_root(size)


@hypothesis.given(SIZES)
def test_inclusion_proofs_verify_in_both_directions(places: list[int]) -> None:
    position, size = places
    path = inclusion_path(position - 1, size, node)
    assert root_of_inclusion(position - 1, size, LEAVES[position - 1], path) == THEIRS.get_root(
        size
    )
    proof = THEIRS.prove_inclusion(position, size)
    verify_inclusion(LEAVES[position - 1], root(size, node), proof, index=position, size=size)


@hypothesis.given(SIZES)
def test_consistency_proofs_verify_in_both_directions(sizes: list[int]) -> None:
    first, second = sizes
    states = THEIRS.get_root(first), THEIRS.get_root(second)
    path = consistency_path(first, second, node)
    assert roots_of_consistency(first, second, path, states[0]) == states
    proof = THEIRS.prove_consistency(first, second)
    verify_consistency(
        root(first, node), root(second, node), proof, prior_size=first, later_size=second
    )


@pytest.fixture
async def audited(database: str) -> AsyncIterator[AuditedLog]:
    async with AuditedLog.opened(database) as opened:
        yield opened


@pytest.mark.anyio
async def test_signed_root_of_stored_rows_equals_that_of_pymerkle(audited: AuditedLog) -> None:
    rows: list[EventRow] = []
    for number in (1, 255, 1, 300):
        await audited.append(number)
        rows += [event(position) for position in range(len(rows) + 1, len(rows) + number + 1)]
        theirs = InmemoryTree.init_from_entries(list(map(leaf_bytes, rows)), algorithm="sha256")
        assert (await audited.grow()).root == theirs.get_root()
