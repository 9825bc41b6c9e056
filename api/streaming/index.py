"""Finds the groups of subscribers that an event concerns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from api.streaming.log.entry import Entry
from api.streaming.subscriber import Subscriber
from api.streaming.topic import Topic, TopicGroup

WHOLE_LOG = ""
"""The stream of topics that are about the whole log."""
Group = TopicGroup[Subscriber]
Groups = dict[Topic, Group]


class Index:
    """An event costs only those groups that it may concern.

    Of those who subscribe to the whole log, most who filter name a customer or a provider, and every
    event of an execution names its two: they are found by these.
    """

    def __init__(self) -> None:
        self._streams: dict[str, Groups] = {}
        self._parties: dict[tuple[str, Any], Groups] = {}
        self._anywhere: Groups = {}

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def __bool__(self) -> bool:
        return bool(self._streams)

    def join(self, topic: Topic) -> Group:
        """The group of a topic, with one member more."""
        group = self._streams.get(topic.stream, {}).get(topic) or self._add(Group(topic))
        group.members += 1
        return group

    def leave(self, group: Group) -> None:
        """One member less; the last one removes the group."""
        group.members -= 1
        if group.members == 0:
            _discard(self._streams, group.topic.stream, group.topic)
            for party in group.topic.filter.parties:
                _discard(self._parties, party, group.topic)
            self._anywhere.pop(group.topic, None)

    def entries_by_group(self, entries: Sequence[Entry]) -> Mapping[Group, Sequence[Entry]]:
        """The groups that may want some of the entries, and which."""
        some: dict[Group, list[Entry]] = {}
        for entry in entries:
            for group in self._streams.get(entry.stream, {}).values():
                some.setdefault(group, []).append(entry)
            for group in self._of_parties(entry):
                some.setdefault(group, []).append(entry)
        return {**dict.fromkeys(self._anywhere.values(), entries), **some}

    def _of_parties(self, entry: Entry) -> Iterable[Group]:
        """Each once, though it may be found by the customer and by the provider."""
        if not self._parties:
            return ()
        found = (self._parties.get(party, {}).values() for party in entry.parties.items())
        return dict.fromkeys(chain(*found))

    def _add(self, group: Group) -> Group:
        topic = group.topic
        self._streams.setdefault(topic.stream, {})[topic] = group
        if topic.stream == WHOLE_LOG:
            for party in topic.filter.parties:
                self._parties.setdefault(party, {})[topic] = group
            if not topic.filter.parties:
                self._anywhere[topic] = group
        return group


def _discard(index: dict[Any, Groups], name: object, topic: Topic) -> None:
    groups = index.get(name, {})
    groups.pop(topic, None)
    if not groups:
        index.pop(name, None)
