"""What a check has found."""

from __future__ import annotations

from typing import Any, NamedTuple


class Fault(NamedTuple):
    """Something that is not as it must be: in which part, where in it, and what it is.

    A part is `log`, `keys`, `snapshots`, `archive`, `audit` (the tree and its head) or the name of a view. Where
    it is about one event or one member alone, `position` and `member` name them. No content is quoted.
    """

    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.part}: {self.place}: {self.what}"

    def members(self) -> dict[str, Any]:
        """As JSON: without what it is not about."""
        return {name: value for name, value in self._asdict().items() if value is not None}
