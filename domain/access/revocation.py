"""That something was taken back, by whom and when: a key, a grant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.model import State


@dataclass(frozen=True)
class Revocation(State):
    """Who took it back, and when."""

    by: str
    at: datetime
