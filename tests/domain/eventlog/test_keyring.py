"""The key ring caches data keys, and discards new ones that are not stored."""

from __future__ import annotations

from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from tests.support.sample_aggregate import MASTER_KEY, Begin, Note, message, running_bus, store


def ring(capacity: int = 2) -> Keyring:
    return Keyring(Vault(MASTER_KEY), capacity)


def new_key_rows(keys: Keyring, *streams: str) -> list[tuple[str, bytes]]:
    """The rows of the new keys of these streams."""
    for stream in streams:
        keys.get_or_create(stream)
    rows = keys.unsaved_keys(streams)
    keys.note_stored(streams)
    return list(rows.items())


def test_look_up_returns_more_keys_than_the_ring_holds() -> None:
    rows = new_key_rows(ring(5), "a", "b", "c", "d")
    assert ring(2).learn(rows).keys() == {"a", "b", "c", "d"}


def test_key_of_a_stream_is_made_once_however_many_others_are_made() -> None:
    keys = ring(2)
    first = keys.get_or_create("a")
    for stream in "bcde":
        keys.get_or_create(stream)
    assert keys.get_or_create("a") is first
    assert keys.unsaved_keys("abcde").keys() == set("abcde")


def test_unstored_data_key_is_discarded() -> None:
    keys = ring()
    keys.get_or_create("a")
    assert keys.get("a") is None
    assert keys.known_keys(["a"], use_absent=False) == ({}, ["a"])
    keys.discard_unsaved()
    assert keys.unsaved_keys(["a"]) == {}


def test_stored_data_key_is_cached() -> None:
    keys = ring()
    made = keys.get_or_create("a")
    keys.note_stored(["a"])
    assert keys.known_keys(["a"], use_absent=False) == ({"a": made}, [])


async def test_states_of_more_streams_than_the_ring_holds_are_opened(database: str) -> None:
    log = store(database)
    log.states.keyring = ring(2)
    async with running_bus(log) as bus:
        for name in "abcde":
            await bus.send(message(name, Begin()))
            await bus.send(message(name, Note(note=name)))
        loaded = await log.load_all([f"tally/{name}" for name in "abcde"])
    assert {versioned.state.note for versioned in loaded.values()} == set("abcde")
