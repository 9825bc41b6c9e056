"""Loads made at the same time share one query; each gets its own result or error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from api.streaming.log.dataloader import DataLoader
from domain.errors import ArchiveAway, Overloaded

pytestmark = pytest.mark.anyio
UNKNOWN, POISON = 7, 13


class Squares:
    """Computes squares, and records each query."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.asked: list[Sequence[int]] = []
        self._trouble = trouble

    async def find(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(numbers)
        await asyncio.sleep(0)
        if self._trouble and POISON in numbers:
            raise self._trouble
        return {number: number**2 for number in numbers if number != UNKNOWN}


async def test_requests_during_a_query_share_the_next_one() -> None:
    squares = Squares()
    batches = DataLoader(squares.find, 10)
    first = batches.load(1)
    await asyncio.sleep(0)
    later = [batches.load(number) for number in range(2, 15)]
    assert [await first, *[await answer for answer in later]] == [
        None if number == UNKNOWN else number**2 for number in range(1, 15)
    ]
    assert list(map(len, squares.asked)) == [1, 10, 3]
    assert await batches.load(5) == 25


@pytest.mark.parametrize("trouble", [ValueError("no number"), ArchiveAway("no number")])
async def test_failed_request_does_not_fail_the_others_of_its_batch(trouble: Exception) -> None:
    squares = Squares(trouble)
    batches = DataLoader(squares.find, 100)
    answers = {number: batches.load(number) for number in range(20)}
    with pytest.raises(type(trouble), match="no number"):
        await answers.pop(POISON)
    assert {number: await answer for number, answer in answers.items()} == {
        number: None if number == UNKNOWN else number**2 for number in answers
    }
    assert len(squares.asked) < 12


async def test_unavailable_database_is_queried_once_per_batch() -> None:
    squares = Squares(Overloaded())
    batches = DataLoader(squares.find, 100)
    outcomes = await asyncio.gather(
        *(batches.load(number) for number in range(20)), return_exceptions=True
    )
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
    assert len(squares.asked) == 1
