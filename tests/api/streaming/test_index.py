"""The index finds the subscribers that an event may match, without a visit to the others."""

from __future__ import annotations

import asyncio

import pytest

from api.streaming import filter as filters
from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, WATCH
from api.streaming.index import Index
from api.streaming.log.entry import Entry
from api.streaming.topic import Topic, TopicGroup
from domain.eventlog.codec import EventRow
from domain.supervisor import cancel
from tests.support.event_writer import NOON
from tests.support.hub import append, connect, running, until

LOG = Topic(ENCODERS[EVENTS, SSE], "", Filter())
BY_CUSTOMER = [
    {"customer": "c-7"},
    {"customer": "c-7", "status": "failed"},
    {"customer": "c-6,c-7"},
    {"provider": "p-1", "tag": "eu"},
]
BY_NONE = [{"customer[ne]": "c-6"}, {"tag": "eu"}, {"customer[exists]": "true"}]


def topic(**asked: str) -> Topic:
    return LOG._replace(filter=filters.read(None, asked.items()))


def entry(customer: str, *, stream: str = "execution/e-1", position: int = 1) -> Entry:
    meta = f'{{"by":"tester","customer":"{customer}","provider":"p-1"}}'
    return Entry(EventRow(position, 1, NOON, stream, "execution.paused", meta, b"{}"), None)


def test_index_finds_subscribers_by_customer_and_provider() -> None:
    index = Index()
    named = [index.join(topic(**asked)) for asked in BY_CUSTOMER]
    rest = [index.join(topic(**asked)) for asked in ({}, *BY_NONE)]
    for number in range(1_000):
        index.join(topic(customer=f"other-{number}"))
    entries = [entry("c-7"), entry("c-8", position=2), entry("c-6", position=3)]
    concerned = index.entries_by_group(entries)
    assert set(concerned) == {*named, *rest}
    at = {group: [each.position for each in its] for group, its in concerned.items()}
    assert [at[group] for group in named] == [[1], [1], [1, 3], [1, 2, 3]]
    assert [at[group] for group in rest] == [[1, 2, 3]] * 4


def test_index_finds_subscribers_of_the_stream() -> None:
    index = Index()
    mine = index.join(LOG._replace(stream="execution/e-1"))
    index.join(LOG._replace(stream="execution/e-2"))
    here, there = entry("c-7"), entry("c-7", stream="execution/e-3", position=2)
    assert index.entries_by_group([here, there]) == {mine: [here]}


def test_index_removes_a_subscriber_that_disconnected() -> None:
    index = Index()
    topics = [topic(**asked) for asked in (*BY_CUSTOMER, *BY_NONE)]
    groups = [index.join(topic) for topic in (*topics, LOG, LOG)]
    assert len(index) == len(groups) - 1
    for group in groups[:-1]:
        index.leave(group)
    assert list(index.entries_by_group([entry("c-7")])) == [groups[-1]]
    index.leave(groups[-1])
    assert index.entries_by_group([entry("c-7")]) == {}
    assert (len(index), index._parties) == (0, {})


@pytest.mark.parametrize(
    ("asked", "folded"),
    [
        (LOG, False),
        (LOG._replace(encoder=ENCODERS[EVENTS_WITH_STATE, SSE]), True),
        (LOG._replace(encoder=ENCODERS[WATCH, SSE]), True),
        (LOG._replace(encoder=ENCODERS[WATCH, SSE], stream="execution/e-2"), True),
        (topic(customer="c-7"), False),
        (topic(tag="eu"), True),
    ],
)
def test_topic_belongs_to_the_folded_feed_if_it_takes_states(asked: Topic, folded: bool) -> None:
    assert asked.folded is folded


@pytest.mark.anyio
async def test_loop_yields_between_groups_without_a_match(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.cooperative.LONGEST_TURN", 0.0)
    async with running(database) as (hub, store):
        rare = [filters.Filter((f"rare.{letter}",)) for letter in "abcdefghijklmnopqrst"]
        for each in rare:
            connect(hub, 0, LOG._replace(filter=each))
        await until(lambda: all(one.live for one in hub._subscribers))
        await append(store, 300)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        await until(lambda: hub.raw.published.swept == 300)
        await until(lambda: all(one.live for one in hub._subscribers))
        tail, *_ = hub._tasks
        await cancel(tail)  # it would skip events published before it
        entries = await hub.loader.between(0, 300)
        hub.raw.begin(0)
        serving = asyncio.create_task(others())
        await hub.raw.publish(entries)
        serving.cancel()
        assert turns >= 3 * len(rare)


def test_group_is_identified_by_its_topic() -> None:
    index = Index()
    assert index.join(LOG) is index.join(LOG)
    assert isinstance(index.join(topic(tag="eu")), TopicGroup)
    assert len(index) == 2
