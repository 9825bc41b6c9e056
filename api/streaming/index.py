"""Finds the groups of subscribers that may want an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from api.streaming.log.entry import Entry
from api.streaming.subscriber import Subscriber
from api.streaming.topic import Topic, TopicGroup

WHOLE_LOG = ""
"""The `stream` of topics that are about the whole log."""
Group = TopicGroup[Subscriber]
Groups = dict[Topic, Group]


class Index:
    """The topic groups of a feed, by stream and by party, so that an event costs only the groups that may want it.

    Most filters of the whole log name a customer or a provider, and every event of an execution names both:
    the groups of such filters are found by the parties of the event.
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
        """Add a member to the group of a topic, and return the group."""
        group = self._streams.get(topic.stream, {}).get(topic) or self._add(Group(topic))
        group.members += 1
        return group

    def leave(self, group: Group) -> None:
        """Remove a member from a group, and the group with its last member."""
        group.members -= 1
        if group.members == 0:
            _discard(self._streams, group.topic.stream, group.topic)
            for party in group.topic.filter.parties:
                _discard(self._parties, party, group.topic)
            self._anywhere.pop(group.topic, None)

    def entries_by_group(self, entries: Sequence[Entry]) -> Mapping[Group, Sequence[Entry]]:
        """The entries that each group may want."""
        selected: dict[Group, list[Entry]] = {}
        for entry in entries:
            for group in self._streams.get(entry.stream, {}).values():
                selected.setdefault(group, []).append(entry)
            for group in self._of_parties(entry):
                selected.setdefault(group, []).append(entry)
        return {**dict.fromkeys(self._anywhere.values(), entries), **selected}

    def _of_parties(self, entry: Entry) -> Iterable[Group]:
        """The groups found by the customer or the provider of an entry, each once."""
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
