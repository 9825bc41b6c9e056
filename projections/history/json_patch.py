"""Makes RFC 6902 patches between JSON documents, each operation with its cause. No I/O.

A patch between two versions of a document does not show which event between them caused which operation. So the changes
of each event are noted first, by identity path. It names list items by their identity (`id`), not by their index, because
the index changes when other items are added or removed. Then the patch between the first and the last document is made,
and the cause of each operation is looked up by its path. An added value of which parts were changed later is split into
several operations, so that each has a single cause.

This is our own code because the known library makes `move` operations, which have two paths and so no single cause, and
some of which are wrong (python-json-patch issues 138, 160 and 179).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Json = Any
Key = str | int | tuple[str, str | int]
IdentityPath = tuple[Key, ...]
C = TypeVar("C")


class Change(NamedTuple):
    """An operation. `path` is its JSON pointer, `identity_path` the same location with list items named by identity."""

    op: str
    path: str
    identity_path: IdentityPath
    value: Json = None


class Caused(NamedTuple, Generic[C]):
    """An operation, and its cause."""

    change: Change
    cause: C


class Blame(Generic[C]):
    """The last cause of a change at each path."""

    def __init__(self) -> None:
        self._latest: dict[IdentityPath, tuple[int, C]] = {}
        self._inside: dict[IdentityPath, tuple[int, C]] = {}
        self._count = 0

    def note(self, cause: C, before: Json, after: Json) -> None:
        """Note the changes that a cause made from one document to the next.

        Members, and list items with an `id`, that are equal in both documents may be left out of both.
        """
        self._count += 1
        last = (self._count, cause)
        for change in changes(before, after):
            self._latest[change.identity_path] = last
            for depth in range(len(change.identity_path)):
                self._inside[change.identity_path[:depth]] = last

    def patch(self, before: Json, after: Json) -> Iterator[Caused[C]]:
        """Yield the operations that change the first document to the last, in order, each with its cause."""
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
        """Return the part of a value that was there when the path was set, and the operations that added the rest."""
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
        """Return the number and cause of the last change of a path or of one around it; else of one inside it."""
        around = [identity_path[:depth] for depth in range(len(identity_path) + 1)]
        found = [self._latest[at] for at in around if at in self._latest]
        if found:
            return max(found, key=lambda last: last[0])
        return next(self._inside[at] for at in reversed(around) if at in self._inside)


def changes(
    before: Json, after: Json, path: str = "", identity_path: IdentityPath = ()
) -> Iterator[Change]:
    """Yield the operations `add`, `remove` and `replace` that change one document to the other."""
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
    """Return the identity of each item: its `id`, or itself if it is a text; the indexes if identities are missing or not
    unique.
    """
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
