"""Who listens to what: the groups of a process, found by what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.streams.entries import Entry
from api.streams.groups import Group, Topic

EVERYTHING = ""
"""The stream of those who listen to the whole log."""
Groups = dict[Topic, Group]


class Audience:
    """An event costs only those groups that it may concern.

    Of those who listen to the whole log, most who filter name a customer or a provider, which every
    event of an execution names, too: by these they are found.
    """

    def __init__(self) -> None:
        self._streams: dict[str, Groups] = {}
        self._parties: dict[tuple[str, Any], Groups] = {}
        self._anywhere: Groups = {}

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def join(self, topic: Topic) -> Group:
        """The group of a topic, with one member more."""
        group = self._streams.get(topic.stream, {}).get(topic) or self._add(Group(topic))
        group.members += 1
        return group

    def leave(self, group: Group) -> None:
        """One member less."""
        group.members -= 1
        if group.members == 0:
            _discard(self._streams, group.topic.stream, group.topic)
            for party in group.topic.filter.parties:
                _discard(self._parties, party, group.topic)
            self._anywhere.pop(group.topic, None)

    def untold(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those whose states somebody here has to know, and nobody has told yet."""
        everything = _need_states(self._streams.get(EVERYTHING))
        return [
            entry
            for entry in entries
            if entry.untold and (everything or _need_states(self._streams.get(entry.stream)))
        ]

    def concerned(self, entries: Sequence[Entry]) -> Mapping[Group, Sequence[Entry]]:
        """The groups that may want some of the entries, and which."""
        some: dict[Group, list[Entry]] = {}
        for entry in entries:
            for group in self._streams.get(entry.stream, {}).values():
                some.setdefault(group, []).append(entry)
            for party in entry.parties.items() if self._parties else ():
                for group in self._parties.get(party, {}).values():
                    some.setdefault(group, []).append(entry)
        return {**dict.fromkeys(self._anywhere.values(), entries), **some}

    def _add(self, group: Group) -> Group:
        topic = group.topic
        self._streams.setdefault(topic.stream, {})[topic] = group
        if topic.stream == EVERYTHING:
            for party in topic.filter.parties:
                self._parties.setdefault(party, {})[topic] = group
            if not topic.filter.parties:
                self._anywhere[topic] = group
        return group


def _need_states(groups: Groups | None) -> bool:
    return groups is not None and any(group.told for group in groups.values())


def _discard(kept: dict[Any, Groups], name: object, topic: Topic) -> None:
    groups = kept.get(name, {})
    groups.pop(topic, None)
    if not groups:
        kept.pop(name, None)
