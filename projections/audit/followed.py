"""Checks that the signed head of somebody else's log is consistent with the heads that were kept of it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from projections.audit.note import BadNote, TreeCheckpoint, checkpoint_of
from projections.audit.proofs import roots_of_consistency


class Contradiction(Exception):
    """A log shows a head that an append-only log cannot have."""


def verified_head(note: str, shown_key: str, pinned_key: str) -> TreeCheckpoint:
    """Return the content of a head that a log shows together with a key.

    Raises:
        Contradiction: the key is not the pinned one, or has not signed the head.
    """
    if shown_key != pinned_key:
        pinned, shown = pinned_key.partition("+")[0], shown_key.partition("+")[0]
        if pinned != shown:
            raise Contradiction(
                f"it is another log now: {shown}, not {pinned}. Was it restored from a backup? Then ask those who "
                "runs it why, and follow it into another folder"
            )
        raise Contradiction(f"it shows another key, {shown_key}, than the pinned {pinned_key}")
    try:
        return checkpoint_of(note, pinned_key)
    except BadNote as error:
        raise Contradiction(f"its head is not signed by the pinned key: {error}") from None


def needs_proof(kept: TreeCheckpoint, shown: TreeCheckpoint) -> bool:
    """Whether a consistency proof is needed from a kept head to the one that is shown: if that is larger.

    Raises:
        Contradiction: the head that is shown is smaller, or has another root at the same size.
    """
    if shown.size < kept.size:
        raise Contradiction(
            f"it was rolled back: it has signed {kept.size} events, and shows a head of {shown.size}"
        )
    if shown.size == kept.size and shown.root != kept.root:
        raise Contradiction(f"it has forked: it has signed two heads of {kept.size} events")
    return 0 < kept.size < shown.size


def require_consistent(kept: TreeCheckpoint, shown: TreeCheckpoint, path: Sequence[bytes]) -> None:
    """Check by a consistency path of RFC 9162 that the later tree contains the earlier one.

    Raises:
        Contradiction: the path does not prove it.
    """
    try:
        roots = roots_of_consistency(kept.size, shown.size, path, kept.root)
    except ValueError:
        roots = b"", b""
    if roots != (kept.root, shown.root):
        raise Contradiction(
            f"it has forked: it does not prove that the {kept.size} events that it has signed are the first of "
            f"the {shown.size} that it signs now"
        )
