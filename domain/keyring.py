"""The data keys at hand. A key is made when the first sealed field of its stream is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from domain.vault import DataKey, Vault

CAPACITY = 20_000


class Keyring:
    """A bounded cache of unwrapped keys.

    `absent` holds streams that are known to have no key. Only the writer may believe it, and only
    while no other process has written: `forget_absent` is called when one has.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._keys: OrderedDict[str, DataKey] = OrderedDict()
        self._absent: set[str] = set()
        self._minted: dict[str, bytes] = {}

    def get(self, stream: str) -> DataKey | None:
        """The key of a stream, if it is at hand."""
        return self._keys.get(stream)

    def unknown(self, streams: Iterable[str], *, believe_absent: bool) -> list[str]:
        """Those of `streams` whose key has to be looked up."""
        known = self._keys
        absent = self._absent if believe_absent else ()
        return [stream for stream in streams if stream not in known and stream not in absent]

    def learn(self, rows: Iterable[tuple[str, bytes]], *, absent: Iterable[str] = ()) -> None:
        """Keep what a look-up found; of `absent` it has found all there are."""
        self._absent.update(absent)
        for stream, wrapped in rows:
            self._absent.discard(stream)
            self._keep(stream, self._vault.unwrap(bytes(wrapped), stream))

    def obtain(self, stream: str) -> DataKey:
        """The key of a stream, made now where there is none; `minted` hands it to the store."""
        key = self._keys.get(stream)
        if key is None:
            key, self._minted[stream] = self._vault.make(stream)
            self._keep(stream, key)
        return key

    def minted(self) -> dict[str, bytes]:
        """The wrapped keys made since the last `settle`."""
        return self._minted

    def settle(self, *, kept: bool) -> None:
        """Minted keys were stored, or, where the transaction failed, never existed."""
        if not kept:
            for stream in self._minted:
                self._keys.pop(stream, None)
        self._minted = {}

    def forget_absent(self) -> None:
        """Another process has written: a stream without a key may have one by now."""
        self._absent.clear()

    def _keep(self, stream: str, key: DataKey) -> None:
        self._keys[stream] = key
        if len(self._keys) > CAPACITY:
            self._keys.popitem(last=False)
        if len(self._absent) > CAPACITY:
            self._absent.clear()
