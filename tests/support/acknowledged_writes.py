"""Compares the answers that callers received with the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from domain.eventlog.codec import EventRow
from domain.writer.command_bus import Answer
from tests.support import sample_aggregate


class Acknowledged(NamedTuple):
    """The answer to a command: its label, and the resulting version, position and total."""

    label: str
    stream: str
    version: int
    position: int
    total: int


def acknowledged(label: str, answer: Answer) -> Acknowledged:
    versioned = answer.versioned
    return Acknowledged(
        label,
        f"tally/{versioned.state.id}",
        versioned.version,
        versioned.position,
        versioned.state.total,
    )


def assert_log_contains(log: Sequence[EventRow], answers: Iterable[Acknowledged]) -> None:
    """Raises AssertionError unless positions are dense and each answer is in the log exactly once."""
    assert [row.position for row in log] == list(range(1, len(log) + 1))
    labels = [orjson.loads(row.meta).get("correlation") for row in log]
    assert [label for label, times in Counter(labels).items() if label and times > 1] == []
    totals = fold_totals(log)
    for answer in answers:
        row = log[answer.position - 1]
        assert (row.stream, row.version) == (answer.stream, answer.version)
        assert labels[answer.position - 1] == answer.label
        assert totals[answer.stream, answer.version] == answer.total


def fold_totals(log: Sequence[EventRow]) -> dict[tuple[str, int], int]:
    """The total of each tally after each of its versions, which must have no holes."""
    codec = sample_aggregate.codec()
    states: dict[str, sample_aggregate.Tally] = {}
    versions: Counter[str] = Counter()
    totals = {}
    for row in log:
        versions[row.stream] += 1
        assert row.version == versions[row.stream]
        recorded = codec.decode(row)
        states[row.stream] = recorded.event.apply(states.get(row.stream), recorded)
        totals[row.stream, row.version] = states[row.stream].total
    return totals
