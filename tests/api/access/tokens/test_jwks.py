"""JSON Web Key Sets at a URL: which keys are accepted, and how often the set is read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api.access.tokens.jwks import CACHED_FOR, FLOOR, KeySet
from api.access.tokens.signing_keys import UnfitKey, of_jwk, of_pem
from domain.errors import Overloaded
from tests.support.tokens import ALGORITHMS, jwk, pem
from workers.outbound.fetch import FetchFailed

pytestmark = pytest.mark.anyio


class Provider:
    """An identity provider that changes its keys, and counts reads of them."""

    def __init__(self, *keys: Any) -> None:
        self.keys: Any = list(keys)
        self.reads = 0
        self.now = 1_000.0
        self.away = False
        self.set = KeySet(self.fetch, lambda: self.now)

    async def fetch(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise FetchFailed("gone")
        return json.dumps({"keys": self.keys}).encode()

    async def kids(self, algorithm: str, kid: str | None) -> list[str | None]:
        return [key.kid for key in await self.set.find(algorithm, kid)]


async def test_key_is_found_by_its_id_and_its_algorithm() -> None:
    provider = Provider(*(jwk(algorithm, algorithm.lower()) for algorithm in ALGORITHMS))
    for algorithm in ALGORITHMS:
        assert await provider.kids(algorithm, algorithm.lower()) == [algorithm.lower()]
        assert await provider.kids(algorithm, None) == [algorithm.lower()]
    assert provider.reads == 1
    assert await provider.kids("RS256", "es256") == []


async def test_unknown_id_reads_the_keys_again_at_most_every_30_s() -> None:
    provider = Provider(jwk("RS256", "old"))
    await provider.kids("RS256", "old")
    provider.keys = [jwk("RS256", "new", 1)]
    assert await provider.kids("RS256", "new") == []
    assert provider.reads == 1
    provider.now += FLOOR
    assert await provider.kids("RS256", "new") == ["new"]
    for number in range(100):
        assert await provider.kids("RS256", f"made-up-{number}") == []
    assert provider.reads == 2


async def test_simultaneous_callers_share_one_read() -> None:
    provider = Provider(jwk("RS256", "one"))
    found = await asyncio.gather(*(provider.kids("RS256", "one") for _ in range(50)))
    assert found == [["one"]] * 50
    assert provider.reads == 1


async def test_withdrawn_key_is_refused_after_an_hour() -> None:
    provider = Provider(jwk("RS256", "one"), jwk("RS256", "two", 1))
    assert await provider.kids("RS256", "one") == ["one"]
    provider.keys = [jwk("RS256", "two", 1)]
    provider.now += CACHED_FOR + 1
    assert await provider.kids("RS256", "one") == []


async def test_cached_keys_are_used_while_the_provider_is_unavailable() -> None:
    provider = Provider(jwk("RS256", "one"))
    await provider.kids("RS256", "one")
    provider.away = True
    provider.now += CACHED_FOR + 1
    assert await provider.kids("RS256", "one") == ["one"]
    assert provider.reads == 2


async def test_tokens_are_refused_as_overloaded_until_keys_could_be_read() -> None:
    provider = Provider(jwk("RS256", "one"))
    provider.away = True
    for _ in range(2):
        with pytest.raises(Overloaded):
            await provider.set.find("RS256", "one")
    assert provider.reads == 1
    provider.away = False
    provider.now += FLOOR
    assert await provider.kids("RS256", "one") == ["one"]


@pytest.mark.parametrize("keys", [[], "keys", [1], [{"kty": "oct", "k": "QQ", "alg": "HS256"}]])
async def test_key_set_without_a_usable_key_raises_overloaded(keys: Any) -> None:
    provider = Provider()
    provider.keys = keys
    with pytest.raises(Overloaded):
        await provider.set.find("HS256", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"kty": "oct", "k": "QQ"},
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"n": "AQAB"},
        {"kty": "nonsense"},
    ],
)
def test_key_of_another_use_or_algorithm_is_left_out(changed: dict[str, str]) -> None:
    assert of_jwk(jwk("RS256", "one")) is not None
    assert of_jwk({**jwk("RS256", "one"), **changed}) is None


def test_algorithm_of_a_file_follows_from_its_key() -> None:
    for algorithm in ALGORITHMS:
        assert of_pem(pem(algorithm)).algorithm == algorithm
    with pytest.raises(UnfitKey):
        of_pem(b"a secret")
