"""States kept at some versions, so that loading one need not fold the whole stream."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Snapshot(NamedTuple):
    """One row of the snapshots: the state after `version` events, sealed fields as tokens.

    `shape` says of which form the state is: a program whose states look otherwise leaves it alone.
    """

    stream: str
    version: int
    position: int
    at: datetime
    state: bytes
    shape: str = ""
