"""Entries of the access log are anchored once, in order, and without a hole."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from domain.access.anchors import STREAM, AccessAnchored, AnchorAccess
from domain.errors import IllegalTransition
from tests.support.given import Given, given


def fields(first: int, last: int) -> dict[str, Any]:
    of_last = {"hash": f"hash-{last}", "root": f"root-{first}"}
    return {"first": first, "last": last, "day": date(2026, 10, 1), **of_last}


def history(*events: AccessAnchored) -> Given:
    return given(*events, stream=STREAM)


def test_entries_are_anchored_once_and_in_order() -> None:
    history().when(AnchorAccess(**fields(1, 3))).then(AccessAnchored(**fields(1, 3)))
    some = history(AccessAnchored(**fields(1, 3)))
    some.when(AnchorAccess(**fields(1, 3))).then()
    some.when(AnchorAccess(**fields(4, 4))).then(AccessAnchored(**fields(4, 4)))


@pytest.mark.parametrize("first", [0, 2])
def test_chain_is_anchored_from_its_first_entry_on(first: int) -> None:
    history().when(AnchorAccess(**fields(first, 5))).refused(IllegalTransition)


def test_anchor_that_leaves_out_an_entry_is_refused() -> None:
    some = history(AccessAnchored(**fields(1, 3)))
    some.when(AnchorAccess(**fields(5, 6))).refused(IllegalTransition)
