"""The bytes of an entry of the access log decode to the entry, so different entries have different bytes."""

from __future__ import annotations

from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import given

from domain.eventlog.access.entry import EPOCH, SEPARATOR, Access, chain_hash, entry_bytes
from projections.audit.verify_bundle import _texts_of

TEXTS = st.text(max_size=20)
IDS = st.lists(st.text("abc-1", min_size=1, max_size=5), max_size=3)
MICROSECONDS = st.integers(0, 4_000_000_000_000_000)
ACCESSES = st.builds(Access, TEXTS, TEXTS, TEXTS, IDS.map(tuple), TEXTS, TEXTS, TEXTS, detail=TEXTS)


@given(st.integers(1, 2**62), MICROSECONDS, ACCESSES)
def test_entry_is_decoded_from_its_bytes(number: int, at: int, access: Access) -> None:
    content = entry_bytes(number, EPOCH + timedelta(microseconds=at), access)
    texts = [*access[:3], SEPARATOR.join(access.executions), *access[4:]]
    assert _texts_of(content) == (1, number, at, texts)


@given(st.binary(max_size=32), ACCESSES, st.data())
def test_hash_depends_on_every_byte_of_the_entry_and_of_the_previous_hash(
    before: bytes, access: Access, data: st.DataObject
) -> None:
    content = entry_bytes(7, EPOCH, access)
    whole = bytearray(before + content)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = chain_hash(bytes(whole[: len(before)]), bytes(whole[len(before) :]))
    assert changed != chain_hash(before, content)
