"""Who is concerned: an event costs nobody who asked for something else, and keeps nobody waiting."""

from __future__ import annotations

import asyncio

import pytest

from api.streams import filters
from api.streams.audience import Audience
from api.streams.entries import Entry
from api.streams.filters import ALL
from api.streams.forms import FORMS, SSE
from api.streams.groups import Group, Topic
from api.streams.words import EVENTS, WATCH
from domain.eventlog.codec import Stored
from tests.support.event_writer import NOON
from tests.support.hub import append, connect, running, until

LOG = Topic(FORMS[EVENTS, SSE], "", ALL)
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
    return Entry(Stored(position, 1, NOON, stream, "execution.paused", meta, b"{}"), None)


def test_index_finds_subscribers_by_customer_and_provider() -> None:
    audience = Audience()
    named = [audience.join(topic(**asked)) for asked in BY_CUSTOMER]
    rest = [audience.join(topic(**asked)) for asked in ({}, *BY_NONE)]
    for number in range(1_000):
        audience.join(topic(customer=f"other-{number}"))
    entries = [entry("c-7"), entry("c-8", position=2), entry("c-6", position=3)]
    concerned = audience.concerned(entries)
    assert set(concerned) == {*named, *rest}
    at = {group: [each.position for each in its] for group, its in concerned.items()}
    assert [at[group] for group in named] == [[1], [1], [1, 3], [1, 2, 3]]
    assert [at[group] for group in rest] == [[1, 2, 3]] * 4


def test_index_finds_subscribers_of_the_stream() -> None:
    audience = Audience()
    mine = audience.join(LOG._replace(stream="execution/e-1"))
    audience.join(LOG._replace(stream="execution/e-2"))
    here, there = entry("c-7"), entry("c-7", stream="execution/e-3", position=2)
    assert audience.concerned([here, there]) == {mine: [here]}


def test_index_forgets_a_subscriber_that_left() -> None:
    audience = Audience()
    topics = [topic(**asked) for asked in (*BY_CUSTOMER, *BY_NONE)]
    groups = [audience.join(topic) for topic in (*topics, LOG, LOG)]
    assert len(audience) == len(groups) - 1
    for group in groups[:-1]:
        audience.leave(group)
    assert list(audience.concerned([entry("c-7")])) == [groups[-1]]
    audience.leave(groups[-1])
    assert audience.concerned([entry("c-7")]) == {}
    assert (len(audience), audience._parties) == (0, {})


@pytest.mark.parametrize(
    ("topics", "untold"),
    [
        ([LOG], 0),
        ([LOG, LOG._replace(form=FORMS[WATCH, SSE])], 3),
        ([LOG, LOG._replace(form=FORMS[WATCH, SSE], stream="execution/e-2")], 1),
        ([topic(customer="c-7")], 0),
        ([topic(tag="eu")], 3),
    ],
)
def test_states_are_folded_only_where_a_subscriber_needs_them(
    topics: list[Topic], untold: int
) -> None:
    audience = Audience()
    for each in topics:
        audience.join(each)
    entries = [entry("c-7", stream=f"execution/e-{n}", position=n) for n in (1, 2, 3)]
    entries.append(entry("c-7", stream="order/o-1", position=4))
    assert len(audience.untold(entries)) == untold


@pytest.mark.anyio
async def test_loop_yields_between_groups_without_a_match(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streams.breath.LONGEST", 0.0)
    async with running(database) as (hub, store):
        rare = [filters.Filter((f"rare.{letter}",)) for letter in "abcdefghijklmnopqrst"]
        for each in rare:
            connect(hub, 0, LOG._replace(filter=each))
        await until(lambda: all(connection.live for connection in hub._connections))
        await append(store, 300)
        entries = await hub.source.between(0, 300)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        await until(lambda: hub.swept == 300)
        hub.begin(0)
        serving = asyncio.create_task(others())
        await hub.publish(entries)
        serving.cancel()
        assert turns >= 3 * len(rare)


def test_group_is_identified_by_its_topic() -> None:
    audience = Audience()
    assert audience.join(LOG) is audience.join(LOG)
    assert isinstance(audience.join(topic(tag="eu")), Group)
    assert len(audience) == 2
