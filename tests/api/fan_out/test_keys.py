"""The key of edges unwraps only data keys that were wrapped for edges."""

from __future__ import annotations

import pytest

from api.fan_out.keys import DAMAGED, as_json, edge_key, from_json, read_key, wrap_for_edges
from api.settings import SetupError
from domain.eventlog.encryption import DamagedKey, Vault
from domain.eventlog.keyring import Keyring
from tests.support.event_writer import MASTER_KEY, Log, completed, created, opened

pytestmark = pytest.mark.anyio

SECRET = b"s" * 32
STREAM = "execution/e-1"


def test_edge_key_differs_from_the_secret_of_the_log_and_the_master_key() -> None:
    assert edge_key(SECRET) not in {SECRET, MASTER_KEY}
    assert len(edge_key(SECRET)) == 32
    assert edge_key(SECRET) != edge_key(b"t" * 32)


@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ="])
def test_invalid_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SetupError) as refusal:
        read_key(text)
    assert "EXECUTIONS_EDGE_KEY" in str(refusal.value)
    assert not text or text not in str(refusal.value)


def test_wrapped_keys_are_decoded_unchanged() -> None:
    keys = [(STREAM, b"wrapped"), ("order/o", DAMAGED)]
    assert from_json(as_json(keys)) == keys


def test_damaged_key_is_damaged_at_an_edge() -> None:
    ring = Keyring(Vault(edge_key(SECRET)))
    assert isinstance(ring.learn([(STREAM, DAMAGED)])[STREAM], DamagedKey)


async def test_keys_of_the_database_are_wrapped_for_edges(database: str) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-1"), completed("e-1", "secret words")])
        of_edges = Vault(edge_key(SECRET))
        keys = await wrap_for_edges(store, of_edges, [STREAM, "execution/none"])
        assert [stream for stream, _ in keys] == [STREAM]
        own = (await store.keys([STREAM]))[STREAM]
        assert own is not None
        assert Keyring(of_edges).learn(keys)[STREAM].material == own.material
        assert isinstance(Keyring(Vault(MASTER_KEY)).learn(keys)[STREAM], DamagedKey), (
            "the master key would open them"
        )


async def test_destroyed_key_is_not_wrapped_for_edges(database: str) -> None:
    async with opened(database) as store:
        await Log(store).write([created("e-1"), completed("e-1", "secret words")])
        await store.keys([STREAM])  # it is cached in this process
        async with store.reader() as connection:
            await connection.execute("UPDATE data_keys SET wrapped = '', erased = 2")
        assert await wrap_for_edges(store, Vault(edge_key(SECRET)), [STREAM]) == []
