"""A signed head must extend the head seen before, and be signed by the pinned key."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from projections.audit.followed import (
    Contradiction,
    needs_proof,
    require_consistent,
    verified_head,
)
from projections.audit.merkle import consistency_path, join, leaf_hash, root
from projections.audit.note import Signer, TreeCheckpoint

ORIGIN = "executions/log-1"
SIGNER = Signer(b"k" * 32, ORIGIN)
MOST = 300
Leaves = list[bytes]


def leaves(seed: bytes) -> Leaves:
    return [leaf_hash(seed + n.to_bytes(2)) for n in range(MOST)]


def head(size: int, of: Leaves) -> TreeCheckpoint:
    return TreeCheckpoint(ORIGIN, size, root(size, lambda node: node_of(of, node)))


def node_of(of: Leaves, node: tuple[int, int]) -> bytes:
    level, index = node
    return join(of[index << level : index + 1 << level])


HONEST = leaves(b"")
SIZES = st.tuples(st.integers(1, MOST), st.integers(1, MOST)).map(sorted)


@hypothesis.given(SIZES)
def test_larger_tree_of_the_same_leaves_is_consistent(sizes: list[int]) -> None:
    first, second = sizes
    kept, shown = head(first, HONEST), head(second, HONEST)
    assert needs_proof(kept, shown) == (first < second)
    require_consistent(
        kept, shown, consistency_path(first, second, lambda node: node_of(HONEST, node))
    )


@hypothesis.given(SIZES, st.integers(0, MOST - 1), st.booleans())
def test_tree_with_another_leaf_is_not_consistent_by_any_path(
    sizes: list[int], changed: int, honest_path: bool
) -> None:
    first, second = sizes
    hypothesis.assume(first < second)
    forged = list(HONEST)
    forged[changed % first] = leaf_hash(b"forged")
    kept, shown = head(first, HONEST), head(second, forged)
    of = HONEST if honest_path else forged
    with pytest.raises(Contradiction, match="forked"):
        require_consistent(
            kept, shown, consistency_path(first, second, lambda node: node_of(of, node))
        )


def test_smaller_tree_is_a_rollback_and_another_root_is_a_fork() -> None:
    with pytest.raises(Contradiction, match="rolled back: it has signed 7 events"):
        needs_proof(head(7, HONEST), head(6, HONEST))
    with pytest.raises(Contradiction, match="two heads of 7 events"):
        needs_proof(head(7, HONEST), head(7, leaves(b"x")))
    assert not needs_proof(head(7, HONEST), head(7, HONEST))
    assert not needs_proof(head(0, HONEST), head(7, HONEST))


@pytest.mark.parametrize("path", [[], [bytes(32)] * 3, [bytes(31)]])
def test_path_of_wrong_length_is_refused(path: list[bytes]) -> None:
    with pytest.raises(Contradiction):
        require_consistent(head(5, HONEST), head(9, HONEST), path)


def test_head_must_be_signed_by_the_pinned_key() -> None:
    shown = head(7, HONEST)
    note, key = SIGNER.sign(shown.text), SIGNER.public_key
    assert verified_head(note, key, key) == shown
    other = Signer(b"x" * 32, ORIGIN)
    with pytest.raises(Contradiction, match="another key"):
        verified_head(other.sign(shown.text), other.public_key, key)
    with pytest.raises(Contradiction, match="not signed by the pinned key"):
        verified_head(other.sign(shown.text), key, key)
    restored = Signer(b"k" * 32, "executions/log-2")
    with pytest.raises(Contradiction, match="another log now: executions/log-2, not executions"):
        verified_head(restored.sign(shown.text), restored.public_key, key)
