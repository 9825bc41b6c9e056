"""Checks from the log who held each execution."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from domain.eventlog.codec import EventRow

ENDS = {"execution.completed", "execution.cancelled", "execution.failed", "execution.released"}


class Owners:
    """The claims of a log, in order. Fails if a claim begins before the previous one has ended."""

    def __init__(self, rows: Iterable[EventRow]) -> None:
        self.held: dict[str, str] = {}
        self.claims: dict[str, list[str]] = {}
        self.completed: dict[str, list[str | None]] = {}
        self.lost = 0
        for row in rows:
            self._add(row.stream, row.type, row.data)

    def _add(self, execution: str, type_: str, data: bytes) -> None:
        if type_ == "execution.claimed":
            worker = orjson.loads(data)["worker"]
            assert execution not in self.held, (
                f"{worker} claimed {execution} of {self.held[execution]}"
            )
            self.held[execution] = worker
            self.claims.setdefault(execution, []).append(worker)
        elif type_ in ENDS:
            holder = self.held.pop(execution, None)
            if type_ == "execution.completed":
                self.completed.setdefault(execution, []).append(holder)
            self.lost += type_ == "execution.released"
