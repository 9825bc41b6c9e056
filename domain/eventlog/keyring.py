"""A cache of data keys. The key of a stream is made when its first sealed field is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from domain.eventlog.encryption import DataKey, Vault, make_destroyed_key
from domain.lru import LruCache

CAPACITY = 4_096
"""Data keys that a keyring caches."""
DESTROYED = 65_536
"""Streams with destroyed keys that a keyring caches: a query that began before the erasure may still return their keys."""

Destroyed = Callable[[Iterable[str]], object]
"""A callback with the streams whose keys were destroyed; it drops their opened content."""


class Keyring:
    """A bounded cache of unwrapped data keys, which drops those that were used least recently.

    It also caches which streams have no key (`use_absent`). Only the writer may use that, and only until another process
    writes; then `forget_absent` is called.

    A process has one object for each key as long as anything refers to it, so `destroy` affects every holder. The callbacks
    in `on_destroyed` are called then.
    """

    def __init__(self, vault: Vault, capacity: int = CAPACITY) -> None:
        self._vault = vault
        self._capacity = capacity
        self._keys: LruCache[str, DataKey] = LruCache(capacity)
        self._alive: WeakValueDictionary[str, DataKey] = WeakValueDictionary()
        self._destroyed: LruCache[str, bool] = LruCache(DESTROYED)
        self._absent: set[str] = set()
        self.on_destroyed: list[Destroyed] = []
        self._unsaved: dict[str, tuple[DataKey, bytes]] = {}

    def ephemeral(self, streams: Iterable[str] = ()) -> Keyring:
        """A keyring with the same master key, for keys that are never stored. It has nothing but which of the `streams` have a
        destroyed key.
        """
        made = Keyring(self._vault)
        made.destroy(filter(self.is_destroyed, streams))
        return made

    def get(self, stream: str) -> DataKey | None:
        """The cached key of a stream, or None."""
        return self._keys.get(stream)

    def known_keys(
        self, streams: Iterable[str], *, use_absent: bool
    ) -> tuple[dict[str, DataKey], list[str]]:
        """The cached keys of `streams`, and the streams whose keys must be queried. With `use_absent` those that are cached
        as having no key are in neither.
        """
        absent = self._absent if use_absent else ()
        known, unknown = {}, []
        for stream in streams:
            if (key := self._keys.get(stream)) is not None:
                known[stream] = key
            elif stream not in absent and stream not in self._destroyed:
                unknown.append(stream)
        return known, unknown

    def assume_absent(self, streams: Iterable[str]) -> None:
        """Cache that streams have no key, as they are assumed to be new."""
        self.learn((), absent=streams)

    def learn(
        self, rows: Iterable[tuple[str, bytes]], *, absent: Iterable[str] = ()
    ) -> dict[str, DataKey]:
        """Cache the wrapped keys that a query returned; an empty one was destroyed. `absent` are streams that the query was
        about: those that it did not return are cached as having no key. Return the unwrapped keys.
        """
        if len(self._absent) > self._capacity:
            self._absent.clear()
        self._absent.update(absent)
        found: dict[str, DataKey] = {}
        for stream, wrapped in rows:
            if not wrapped:
                self.destroy([stream])
            elif stream not in self._destroyed:
                found[stream] = self._alive.get(stream) or self._vault.unwrap_or_report(
                    bytes(wrapped), stream
                )
                self._put(stream, found[stream])
        return found

    @property
    def master_key_id(self) -> str:
        """The id of the master key that wraps data keys."""
        return self._vault.id

    def destroy(self, streams: Iterable[str]) -> None:
        """Destroy the keys of streams in this process: every holder of one loses it, and no new one is made. The stored key is
        emptied by the statement that writes the event of the erasure (`_ERASED` in `queries.py`).
        """
        newly_destroyed = [stream for stream in streams if stream not in self._destroyed]
        for stream in newly_destroyed:
            if (key := self._alive.pop(stream, None)) is not None:
                key.destroy()
            self._keys.pop(stream)
            self._absent.discard(stream)
            self._destroyed.put(stream, True)
        self._destroyed.trim()
        for call in self.on_destroyed if newly_destroyed else ():
            call(newly_destroyed)

    def is_destroyed(self, stream: str) -> bool:
        """Whether it is cached that the key of a stream was destroyed."""
        return stream in self._destroyed

    def get_or_create(self, stream: str) -> DataKey:
        """The key of a stream. A new one is made where none is cached; `unsaved_keys` returns it for storing. Where the key
        was destroyed, the result is a key that seals nothing.
        """
        if stream in self._destroyed:
            return make_destroyed_key(stream)
        if (key := self._keys.get(stream)) is not None:
            return key
        if stream not in self._unsaved:
            self._unsaved[stream] = self._vault.make(stream)
        return self._unsaved[stream][0]

    def get_stored_or_new(self, stream: str) -> DataKey | None:
        """The cached key of a stream, stored or not yet; None where there is none, as after an erasure."""
        unsaved = self._unsaved.get(stream)
        return self._keys.get(stream) if unsaved is None else unsaved[0]

    def unsaved_keys(self, streams: Iterable[str]) -> dict[str, bytes]:
        """The wrapped keys of these streams that were made and are not stored yet."""
        return {stream: self._unsaved[stream][1] for stream in streams if stream in self._unsaved}

    def note_stored(self, streams: Iterable[str]) -> None:
        """Cache the new keys of these streams, as they are in the database now."""
        for stream in streams:
            if stream in self._unsaved:
                self._put(stream, self._unsaved.pop(stream)[0])

    def discard_unsaved(self) -> None:
        """Drop the keys that were made and not stored, so that nothing is sealed by them."""
        self._unsaved.clear()

    def forget_absent(self) -> None:
        """Drop which streams have no key: another process has written, and may have made keys."""
        self._absent.clear()

    def forget(self) -> None:
        """Drop everything except which keys were destroyed."""
        self._keys.clear()
        self._absent.clear()
        self._unsaved.clear()

    def _put(self, stream: str, key: DataKey) -> None:
        self._absent.discard(stream)
        self._keys.put(stream, key)
        self._alive[stream] = key
        self._keys.trim()
