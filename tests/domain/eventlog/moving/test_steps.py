"""A move that is interrupted at any step loses no acknowledged event, and each planted fault is found."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from random import Random

import pytest

from domain.eventlog.moving.steps import Done, NoWayBack, TakenBack, abort, run
from tests.support.move_model import Fault, Killed, Moving, Stopped

WALKS, THOROUGH_WALKS, SEARCHED = 1_000, 50_000, 20_000
FOUND = {
    Fault.NO_FENCE: "lost|both databases",
    Fault.NOT_DRAINED: "lost",
    Fault.NOT_ARRIVED: "lost",
    Fault.UNCHECKED: "lost",
    Fault.NEW_IS_KEPT: "both databases",
}
TRIES = 4


def walk(seed: int, faults: Collection[Fault] = ()) -> Moving:
    """A move that is killed, continued or rolled back at random until it ends."""
    chance = Random(seed).randrange
    moving = Moving(chance, faults)
    for tried in range(TRIES):
        moving.may_be_killed = tried < TRIES - 1
        with suppress(Killed, Stopped, NoWayBack):
            if moving.done == Done.TAKEN_BACK or (tried and chance(2)):
                abort(moving)
            else:
                run(moving)
            break
    else:
        with suppress(Stopped):
            run(moving)
    moving.settle()
    return moving


def test_move_loses_and_duplicates_nothing_wherever_it_is_killed(*, thorough: bool) -> None:
    ends = set()
    for seed in range(THOROUGH_WALKS if thorough else WALKS):
        moving = walk(seed)
        moving.check()
        ends.add((moving.done == Done.FINISHED, moving.moved))
    assert ends == {(True, True), (False, False)}


@pytest.mark.parametrize("fault", Fault)
def test_planted_fault_is_found(fault: Fault) -> None:
    def search() -> None:
        for seed in range(SEARCHED):
            walk(seed, {fault}).check()

    with pytest.raises(AssertionError, match=FOUND[fault]):
        search()


def test_move_without_interference_ends_in_the_new_database() -> None:
    moving = Moving(lambda _: 0)
    moving.write(0)
    run(moving)
    assert (moving.done, moving.moved, moving.new.events) == (Done.FINISHED, True, [1])


def test_move_that_is_being_rolled_back_does_not_continue() -> None:
    moving = Moving(lambda _: 0)
    moving.note(Done.TAKEN_BACK)
    with pytest.raises(TakenBack):
        run(moving)


def test_move_that_has_opened_the_new_database_cannot_be_rolled_back() -> None:
    moving = Moving(lambda _: 0)
    run(moving)
    with pytest.raises(NoWayBack):
        abort(moving)
    assert moving.is_open()
