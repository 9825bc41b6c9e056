"""RFC 6902 patches between JSON documents, each operation with its cause. No I/O.

The patch between two versions of a document cannot tell which of the events between them changed
what. So each event's own changes are noted first, by identity path, which names list items by identity
(`id`) and not by index, because items that come and go move their neighbours' index. Then the
difference of the two ends is taken once, and every operation looks up who was last at its path;
what was added and changed later is split, so that each operation has one cause.

Own code because the known library proposes `move` operations, which have two paths and so no
single cause, and of which some lead elsewhere (python-json-patch issues 138, 160 and 179).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Json = Any
Key = str | int | tuple[str, str | int]
IdentityPath = tuple[Key, ...]
C = TypeVar("C")


class Change(NamedTuple):
    """One operation: `path` is its JSON pointer, `identity_path` the same with list items by identity."""

    op: str
    path: str
    identity_path: IdentityPath
    value: Json = None


class Caused(NamedTuple, Generic[C]):
    """An operation and what caused it."""

    change: Change
    cause: C


class Blame(Generic[C]):
    """Who changed which path last."""

    def __init__(self) -> None:
        self._latest: dict[IdentityPath, tuple[int, C]] = {}
        self._inside: dict[IdentityPath, tuple[int, C]] = {}
        self._count = 0

    def note(self, cause: C, before: Json, after: Json) -> None:
        """The next event led from one document to the other.

        Parts that it left alone may be left out on both sides: of lists, whole items with an `id`.
        """
        self._count += 1
        last = (self._count, cause)
        for change in changes(before, after):
            self._latest[change.identity_path] = last
            for depth in range(len(change.identity_path)):
                self._inside[change.identity_path[:depth]] = last

    def patch(self, before: Json, after: Json) -> Iterator[Caused[C]]:
        """The operations that lead from the first document to the last, in order."""
        for change in changes(before, after):
            order, cause = self._last(change.identity_path)
            if change.op == "remove":
                yield Caused(change, cause)
                continue
            kept, later = self._split(change.value, change.path, change.identity_path, order)
            yield Caused(change._replace(value=kept), cause)
            yield from later

    def _split(
        self, value: Json, path: str, identity_path: IdentityPath, order: int
    ) -> tuple[Json, list[Caused[C]]]:
        """What was there when the path was filled, and the operations that brought the rest."""
        if not isinstance(value, dict | list) or identity_path not in self._inside:
            return value, []
        kept: list[tuple[Key, Json]] = []
        later: list[Caused[C]] = []
        for index, key, member in _members(value):
            inner, at = f"{path}/{index}", (*identity_path, key)
            since, cause = self._latest.get(at, (0, None))
            content, more = self._split(member, inner, at, max(order, since))
            if since > order and cause is not None:
                later.append(Caused(Change("add", inner, at, content), cause))
            else:
                kept.append((key, content))
            later += more
        return (dict(kept) if isinstance(value, dict) else [item for _, item in kept]), later

    def _last(self, identity_path: IdentityPath) -> tuple[int, C]:
        """The last who filled or emptied the path or one around it, else one inside it."""
        around = [identity_path[:depth] for depth in range(len(identity_path) + 1)]
        found = [self._latest[at] for at in around if at in self._latest]
        if found:
            return max(found, key=lambda last: last[0])
        return next(self._inside[at] for at in reversed(around) if at in self._inside)


def changes(
    before: Json, after: Json, path: str = "", identity_path: IdentityPath = ()
) -> Iterator[Change]:
    """The operations `add`, `remove` and `replace` that lead from one document to the other."""
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _between_objects(before, after, path, identity_path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _between_lists(before, after, path, identity_path)
    elif type(before) is not type(after) or before != after:
        yield Change("replace", path, identity_path, after)


def _between_objects(
    before: dict[str, Json], after: dict[str, Json], path: str, identity_path: IdentityPath
) -> Iterator[Change]:
    for name in before:
        if name not in after:
            yield Change("remove", f"{path}/{_escape(name)}", (*identity_path, name))
    for name, value in after.items():
        inner, at = f"{path}/{_escape(name)}", (*identity_path, name)
        if name in before:
            yield from changes(before[name], value, inner, at)
        else:
            yield Change("add", inner, at, value)


def _between_lists(
    before: list[Json], after: list[Json], path: str, identity_path: IdentityPath
) -> Iterator[Change]:
    old, new = _identities(before), _identities(after)
    kept = set(new)
    known = {key: item for key, item in zip(old, before, strict=True) if key in kept}
    if list(known) != [key for key in new if key in known]:
        yield Change("replace", path, identity_path, after)
        return
    for index in range(len(old) - 1, -1, -1):
        if old[index] not in known:
            yield Change("remove", f"{path}/{index}", (*identity_path, old[index]))
    for index, (key, item) in enumerate(zip(new, after, strict=True)):
        inner, at = f"{path}/{index}", (*identity_path, key)
        if key in known:
            yield from changes(known[key], item, inner, at)
        else:
            yield Change("add", inner, at, item)


def _identities(items: list[Json]) -> list[Key]:
    """What each item is known by: its `id`, or being a text; where that is not unique, its index."""
    keys = [_identity(item) for item in items]
    named = [key for key in keys if key is not None]
    return named if len(set(named)) == len(items) else list(range(len(items)))


def _identity(item: Json) -> Key | None:
    if isinstance(item, str):
        return ("text", item)
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        return ("id", item["id"])
    return None


def _members(value: Json) -> Iterator[tuple[str | int, Key, Json]]:
    if isinstance(value, dict):
        yield from ((_escape(name), name, member) for name, member in value.items())
    else:
        for index, (key, item) in enumerate(zip(_identities(value), value, strict=True)):
            yield index, key, item


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
