"""Commands on streams outside the sender's scope are refused as not found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from domain.errors import AlreadyExists, DomainError, Forbidden, NotFound
from domain.eventlog.idempotency import IdempotencyKey
from domain.eventlog.store import Store
from domain.model import Aggregate, Versioned
from domain.writer.visible_states import VisibleStates
from tests.support.sample_aggregate import NOON, Begin, Raise, message, running_bus

NewStore = Callable[[], Store]


def of(*ids: str) -> Callable[[Versioned[Any]], bool]:
    return lambda versioned: versioned.state.id in ids


@pytest.mark.anyio
async def test_stream_outside_the_scope_is_not_found(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        await bus.send(message("a", Begin()))
        own = await bus.send(message("a", Raise(), permits=of("a")))
        with pytest.raises(NotFound) as alien:
            await bus.send(message("a", Raise(), permits=of("b")))
        with pytest.raises(NotFound) as absent:
            await bus.send(message("none", Raise(), permits=of("b")))
        rows = await store.read(0, 10)
    assert own.versioned.state.total == 1
    assert str(alien.value) == str(absent.value)
    assert len(rows) == 2


@pytest.mark.anyio
async def test_creation_of_a_stream_outside_the_scope_is_refused(new_store: NewStore) -> None:
    store = new_store()
    async with running_bus(store) as bus:
        with pytest.raises(Forbidden):
            await bus.send(message("a", Begin(), permits=of("b")))
        await bus.send(message("b", Begin(), permits=of("b")))
        with pytest.raises(AlreadyExists):
            await bus.send(message("b", Begin(), permits=of("c")))
        rows = await store.read(0, 10)
    assert [row.stream for row in rows] == ["tally/b"]


@pytest.mark.anyio
async def test_answer_is_not_repeated_to_a_sender_whose_scope_no_longer_has_the_stream(
    new_store: NewStore,
) -> None:
    once = IdempotencyKey("k", "f")
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        first = message("a", Raise(), idempotency=once, permits=of("a"))
        await bus.send(first)
        repeated = await bus.send(first)
        with pytest.raises(NotFound):
            await bus.send(first._replace(permits=of("b")))
    assert repeated.replayed


def has_total(total: int, found: Versioned[Any]) -> bool:
    return bool(found.state.total == total)


@pytest.mark.anyio
async def test_answer_is_repeated_to_a_sender_whose_scope_had_the_stream_before_or_after_the_command(
    new_store: NewStore,
) -> None:
    """As for a worker whose claim has ended with the command."""
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Raise()))
        for total, key in ((1, "before"), (2, "after")):
            once = IdempotencyKey(key, "f")
            sent = message("a", Raise(), idempotency=once)
            first = await bus.send(sent)
            reached = first.versioned.state.total - 2 + total
            limited = sent._replace(permits=partial(has_total, reached))
            await bus.send(message("a", Raise()))
            repeated = await bus.send(limited)
            assert repeated.replayed
            assert repeated.versioned.state == first.versioned.state
        with pytest.raises(NotFound):
            await bus.send(limited._replace(permits=lambda found: found.state.total > 5))


@pytest.mark.anyio
async def test_dry_run_shows_nothing_of_a_stream_outside_the_scope(new_store: NewStore) -> None:
    async with running_bus(new_store()) as bus:
        await bus.send(message("a", Begin()))
        with pytest.raises(NotFound):
            await bus.dry_run(message("a", Raise(), permits=of("b")))
        with pytest.raises(DomainError):
            await bus.dry_run(message("c", Begin(), permits=of("b")))


def test_orders_and_executions_outside_the_scope_are_as_if_absent() -> None:
    states: dict[str, Any] = {
        stream: Versioned(Aggregate(stream), 1, 1, NOON)
        for stream in ("order/a", "order/b", "service/s", "execution/x")
    } | {"order/none": None}
    reachable = VisibleStates(states, lambda versioned: versioned.state.id == "order/a")
    assert len(reachable) == len(list(reachable)) == 5
    there = {stream for stream in reachable if reachable[stream] is not None}
    assert there == {"order/a", "service/s"}
