"""Checks that the signed head of another log is consistent with the heads that were kept of it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from projections.audit.note import BadNote, TreeCheckpoint, checkpoint_of
from projections.audit.proofs import roots_of_consistency


class Contradiction(Exception):
    """A log shows what it cannot show if it only ever appends."""


def verified_head(note: str, shown_key: str, pinned_key: str) -> TreeCheckpoint:
    """What the head says that a log shows with a key.

    Raises:
        Contradiction: the key is not the pinned one, or has not signed it.
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
    """Whether a later head has to be proven to follow on a kept one; not if they are the same.

    Raises:
        Contradiction: it is an earlier one, or has another root at the same size.
    """
    if shown.size < kept.size:
        raise Contradiction(
            f"it was rolled back: it has signed {kept.size} events, and shows a head of {shown.size}"
        )
    if shown.size == kept.size and shown.root != kept.root:
        raise Contradiction(f"it has forked: it has signed two heads of {kept.size} events")
    return 0 < kept.size < shown.size


def require_consistent(kept: TreeCheckpoint, shown: TreeCheckpoint, path: Sequence[bytes]) -> None:
    """The later tree has the earlier one in it, as a path of RFC 9162 shows.

    Raises:
        Contradiction: the path does not show it.
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
