"""A fault that a check of stored data has found."""

from __future__ import annotations

from typing import Any, NamedTuple


class Fault(NamedTuple):
    """A fault in stored data: its part, its place in the part, and a text.

    A part is `log`, `keys`, `snapshots`, `archive`, `audit` (the tree and its head), `log lines` or the name of a view. If
    the fault concerns one event or one member, `position` and `member` name it. The text quotes no content.
    """

    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.part}: {self.place}: {self.what}"

    def members(self) -> dict[str, Any]:
        """The fault as JSON, without the members that are None."""
        return {name: value for name, value in self._asdict().items() if value is not None}
