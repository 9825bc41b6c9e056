"""The data keys at hand. A key is made when the first sealed field of its stream is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from domain.eventlog.encryption import DataKey, Vault, make_destroyed_key
from domain.lru import LruCache

CAPACITY = 4_096
DESTROYED = 65_536
"""Streams whose keys were destroyed that are remembered: what was read before may come after."""

Destroyed = Callable[[Iterable[str]], object]
"""Is called with streams whose keys were destroyed: their opened content must be dropped."""


class Keyring:
    """A bounded cache of unwrapped keys; the ones used last are kept.

    `absent` holds streams that are known to have no key. Only the writer may believe it, and only
    while no other process has written: `forget_absent` is called when one has.

    There is one object for each key in all of the process as long as anything holds it: so `destroy` ends
    what every holder can do with it. `on_destroyed` are called.
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

    def ephemeral(self) -> Keyring:
        """A keyring without keys, whose keys are never stored."""
        return Keyring(self._vault)

    def get(self, stream: str) -> DataKey | None:
        """The key of a stream, if it is at hand."""
        return self._keys.get(stream)

    def known_keys(
        self, streams: Iterable[str], *, believe_absent: bool
    ) -> tuple[dict[str, DataKey], list[str]]:
        """The keys at hand, and those of `streams` whose key has to be looked up."""
        absent = self._absent if believe_absent else ()
        known, unknown = {}, []
        for stream in streams:
            if (key := self._keys.get(stream)) is not None:
                known[stream] = key
            elif stream not in absent and stream not in self._destroyed:
                unknown.append(stream)
        return known, unknown

    def assume_absent(self, streams: Iterable[str]) -> None:
        """Believe that these have no key, as they are new; `forget_absent` where that was wrong."""
        self.learn((), absent=streams)

    def learn(
        self, rows: Iterable[tuple[str, bytes]], *, absent: Iterable[str] = ()
    ) -> dict[str, DataKey]:
        """Cache the keys that a query returned. Of `absent` it asked for all: those not returned have no key.
        One that was destroyed is empty.
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
        """The name of the master key by which data keys are wrapped."""
        return self._vault.id

    def destroy(self, streams: Iterable[str]) -> None:
        """The keys of these streams are no more: nothing that has one can use it, and none is made again."""
        gone = [stream for stream in streams if stream not in self._destroyed]
        for stream in gone:
            if (key := self._alive.pop(stream, None)) is not None:
                key.destroy()
            self._keys.pop(stream)
            self._absent.discard(stream)
            self._destroyed.put(stream, True)
        self._destroyed.trim()
        for call in self.on_destroyed if gone else ():
            call(gone)

    def is_destroyed(self, stream: str) -> bool:
        """Whether the key of a stream is known to be destroyed."""
        return stream in self._destroyed

    def get_or_create(self, stream: str) -> DataKey:
        """The key of a stream, made now where there is none; `unsaved_keys` hands it to the store. Where it was
        destroyed, one that seals nothing.
        """
        if stream in self._destroyed:
            return make_destroyed_key(stream)
        if (key := self._keys.get(stream)) is not None:
            return key
        if stream not in self._unsaved:
            self._unsaved[stream] = self._vault.make(stream)
        return self._unsaved[stream][0]

    def get_stored_or_new(self, stream: str) -> DataKey | None:
        """The key of a stream, stored or not; None where it has none (any more)."""
        made = self._unsaved.get(stream)
        return self._keys.get(stream) if made is None else made[0]

    def unsaved_keys(self, streams: Iterable[str]) -> dict[str, bytes]:
        """The wrapped keys that were made for these streams and have not been stored."""
        return {stream: self._unsaved[stream][1] for stream in streams if stream in self._unsaved}

    def note_stored(self, streams: Iterable[str]) -> None:
        """The new keys of these streams are in the database now."""
        for stream in streams:
            if stream in self._unsaved:
                self._put(stream, self._unsaved.pop(stream)[0])

    def discard_unsaved(self) -> None:
        """Keys that were made and not stored never existed: nothing may be sealed with them."""
        self._unsaved.clear()

    def forget_absent(self) -> None:
        """Another process has written: a stream without a key may have one by now."""
        self._absent.clear()

    def forget(self) -> None:
        """Drop everything."""
        self._keys.clear()
        self._absent.clear()
        self._unsaved.clear()

    def _put(self, stream: str, key: DataKey) -> None:
        self._absent.discard(stream)
        self._keys.put(stream, key)
        self._alive[stream] = key
        self._keys.trim()
