"""The revocation of a key or a grant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.model import State


@dataclass(frozen=True)
class Revocation(State):
    """Who revoked a key or a grant, and when."""

    by: str
    at: datetime
