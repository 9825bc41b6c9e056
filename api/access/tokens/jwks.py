"""Reads a JSON Web Key Set from a URL when a key is needed, and again when the keys change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import orjson
import structlog

from api.access.tokens.signing_keys import SigningKey, of_jwk
from domain.errors import Overloaded
from workers.outbound.fetch import FetchFailed

CACHED_FOR = 3_600.0
"""Seconds after which the set is read again: so soon a key that was withdrawn opens nothing new."""
FLOOR = 30.0
"""Seconds between two reads because of an unknown key id, as anybody may make up an id."""
LARGEST = 256 * 1024
"""Bytes of the largest document that is read."""
MOST = 100
"""Keys of a document that are used."""

log = structlog.get_logger()
Fetch = Callable[[], Awaitable[bytes]]


class KeySet:
    """The keys of a JSON Web Key Set, read by `fetch`. While `fetch` fails, the keys that were read last are used."""

    def __init__(self, fetch: Fetch, steady: Callable[[], float] = monotonic) -> None:
        self._fetch = fetch
        self._steady = steady
        self._keys: tuple[SigningKey, ...] = ()
        self._read_at = self._fetch_tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, algorithm: str, kid: str | None) -> Sequence[SigningKey]:
        """The keys that may have signed a token: by its key id, or without an id all keys of the algorithm.

        Raises:
            Overloaded: no keys could be read so far.
        """
        if self._steady() - self._read_at > CACHED_FOR or not self._matching(algorithm, kid):
            await self._read()
        return self._matching(algorithm, kid)

    def _matching(self, algorithm: str, kid: str | None) -> list[SigningKey]:
        return [
            key
            for key in self._keys
            if key.algorithm == algorithm and (kid is None or key.kid in {kid, None})
        ]

    async def _read(self) -> None:
        requested_at = self._steady()
        async with self._reading:  # a caller that has waited uses the keys that were read meanwhile
            if self._fetch_tried_at < requested_at and requested_at - self._fetch_tried_at >= FLOOR:
                self._fetch_tried_at = requested_at
                try:
                    self._keys = _keys_of(await self._fetch())
                    self._read_at = requested_at
                except FetchFailed as error:
                    log.warning("the keys of tokens cannot be read", reason=str(error))
        if not self._keys:
            raise Overloaded("The keys of tokens cannot be read now. Send it again later.")


def _keys_of(body: bytes) -> tuple[SigningKey, ...]:
    """The keys in a document. Raises FetchFailed where the document is no set of keys, or has no usable key."""
    try:
        listed = orjson.loads(body)["keys"]
        found = [of_jwk(document) for document in listed[:MOST]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchFailed("it is no set of JSON Web Keys") from error
    keys = tuple(key for key in found if key is not None)
    if not keys:
        raise FetchFailed("it has no key for RS256, ES256 or EdDSA")
    return keys
