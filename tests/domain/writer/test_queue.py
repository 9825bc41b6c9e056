"""The queue before the writer: which commands go first, and those that wait too long."""

from __future__ import annotations

import pytest

from domain.errors import OutcomeUnknown, Overloaded
from domain.outages import AWAY, Outages
from domain.writer import queue
from domain.writer.queue import (
    BULK_BESIDE,
    MOST_COMMANDS,
    STUCK,
    WAITED,
    CommandQueue,
    FutureReceiver,
)
from tests.support.sample_aggregate import Begin, message

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("outage", "detail"), [(False, WAITED), (True, AWAY)])
async def test_command_that_waited_too_long_is_refused_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, outage: bool, detail: str
) -> None:
    monkeypatch.setattr(queue, "LONGEST_WAIT", -1.0)
    outages, receiver = Outages(), FutureReceiver()
    waiting = CommandQueue(10, outages)
    waiting.put(message("a", Begin()), receiver)
    if outage:
        outages.begin("no connection")
    assert waiting.take() == []
    refused = receiver.future.exception()
    assert isinstance(refused, Overloaded)
    assert refused.detail == detail


async def test_commands_are_refused_while_a_batch_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LONGEST_WRITE", -1.0)
    waiting = CommandQueue(10, Outages())
    waiting.require_room(1)
    waiting.put(message("a", Begin()), FutureReceiver())
    waiting.take()
    with pytest.raises(Overloaded) as refused:
        waiting.require_room(1)
    assert refused.value.detail == STUCK
    waiting.note_answered()
    waiting.require_room(1)


def filled(single: int, bulk: int) -> CommandQueue:
    """A queue with so many bulk commands `b…`, and then so many others `s…`."""
    filled = CommandQueue(10_000, Outages())
    for number in range(bulk):
        filled.put(message(f"b{number}", Begin())._replace(bulk=True), FutureReceiver())
    for number in range(single):
        filled.put(message(f"s{number}", Begin()), FutureReceiver())
    return filled


def take(waiting: CommandQueue) -> list[str]:
    """The next batch, by the ids of its streams."""
    return [each.message.stream.partition("/")[2] for each in waiting.take()]


def numbered(kind: str, first: int, until: int) -> list[str]:
    return [f"{kind}{number}" for number in range(first, until)]


async def test_bulk_commands_fill_whole_batches_while_nothing_else_waits() -> None:
    waiting = filled(single=0, bulk=MOST_COMMANDS + 1)
    assert take(waiting) == numbered("b", 0, MOST_COMMANDS)
    assert take(waiting) == [f"b{MOST_COMMANDS}"]
    assert len(waiting) == 0


async def test_command_goes_before_bulk_commands_that_came_earlier() -> None:
    waiting = filled(single=2, bulk=1_000)
    assert take(waiting) == ["s0", "s1", *numbered("b", 0, BULK_BESIDE)]
    assert take(waiting) == numbered("b", BULK_BESIDE, BULK_BESIDE + MOST_COMMANDS)


async def test_bulk_commands_go_on_however_many_others_wait() -> None:
    waiting = filled(single=2_000, bulk=100)
    alone = MOST_COMMANDS - BULK_BESIDE
    assert take(waiting) == [*numbered("s", 0, alone), *numbered("b", 0, BULK_BESIDE)]
    assert take(waiting) == [*numbered("s", alone, 2 * alone), *numbered("b", BULK_BESIDE, 100)]
    assert take(waiting) == numbered("s", 2 * alone, 2 * alone + MOST_COMMANDS)


async def test_batch_that_is_put_back_is_taken_again_in_order() -> None:
    waiting = filled(single=3, bulk=3)
    taken = waiting.take()
    waiting.put_back_from(taken, 2)
    assert [each.message.stream for each in taken] == ["tally/s0", "tally/s1"]
    assert take(waiting) == ["s2", "b0", "b1", "b2"]


async def test_commands_of_both_kinds_are_taken_one_by_one_after_a_failure() -> None:
    waiting = filled(single=2, bulk=2)
    waiting.shrink(2)
    assert [take(waiting) for _ in range(4)] == [["s0"], ["s1"], ["b0"], ["b1"]]


@pytest.mark.parametrize("bulk", [True, False])
async def test_commands_that_may_depend_on_one_that_failed_are_refused(*, bulk: bool) -> None:
    waiting = filled(single=2, bulk=2)
    failed = waiting.take()
    failed = [each for each in failed if each.message.bulk is bulk][:1]
    other = filled(single=3, bulk=3)
    all_of_it = (*other._single, *other._bulk)
    receivers = [e.receiver for e in all_of_it if isinstance(e.receiver, FutureReceiver)]
    other.note_failed(failed)
    left = ["s0", "s1", "s2"] if bulk else ["s1", "s2", "b0", "b1", "b2"]
    assert take(other) == left
    refused = [each.future.exception() for each in receivers if each.future.done()]
    assert [type(error) for error in refused] == [Overloaded] * (6 - len(left))


async def test_outcome_of_commands_that_were_taken_is_unknown_at_the_end() -> None:
    waiting = filled(single=2, bulk=0)
    taken = waiting.take()
    waiting.refuse(taken)
    for each in taken:
        assert isinstance(each.receiver, FutureReceiver)
        assert isinstance(each.receiver.future.exception(), OutcomeUnknown)


async def test_commands_of_both_kinds_are_refused_at_the_end() -> None:
    waiting = filled(single=2, bulk=2)
    taken = waiting.take()
    waiting.put_back(taken)
    waiting.refuse()
    assert len(waiting) == 0
    for each in taken:
        assert isinstance(each.receiver, FutureReceiver)
        assert isinstance(each.receiver.future.exception(), Overloaded)
