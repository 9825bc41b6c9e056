"""The steps of a move, in order. Each can be repeated, so a move that was interrupted is resumed after the last step that is
noted. Until the new database is opened, the move can be taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol


class Done(StrEnum):
    """The last step of a move that is done, as the journal of the old database has it. `TAKEN_BACK` is noted before a move is
    taken back.
    """

    TAKEN_BACK = "taken back"
    BEGUN = "begun"
    PREPARED = "prepared"
    PUBLISHED = "published"
    COPIED = "copied"
    COMPARED = "compared"
    SEALED = "sealed"
    OPENED = "opened"
    MOVED = "moved"
    FINISHED = "finished"


class NoWayBack(Exception):
    """The new database accepts commands already: the move can only be finished."""


class TakenBack(Exception):
    """The move is being taken back: that can only be finished."""


class MoveOperations(Protocol):
    """The operations of a move on both databases. Each can be repeated."""

    def prepare(self) -> None:
        """Make the tables in the new database, empty and behind a closed fence."""

    def publish(self) -> None:
        """Build an open fence around the old database, and publish its tables."""

    def copy(self) -> None:
        """Copy all rows; return once the new database follows the old one."""

    def compare_past(self) -> None:
        """Compare the rows that no longer change, and wait until the lag of the new database is small."""

    def close(self) -> None:
        """Close the fence of the old database for some seconds; return once no transaction that has written is open."""

    def wait_for_all(self) -> None:
        """Return once the new database has all commits of the old one."""

    def compare_remaining(self) -> None:
        """Compare the rows that were not compared before."""

    def seal(self) -> None:
        """Close the fence of the old database for good, if it has been closed without interruption."""

    def lift(self) -> None:
        """Open the fence of the old database, so that it accepts commands."""

    def open(self) -> None:
        """Open the fence of the new database, if it is still the database of this move."""

    def is_open(self) -> bool:
        """Whether the new database accepts commands."""

    def hand_over(self) -> None:
        """Store in the old database that the log is in the new one, and notify servers."""

    def finish(self) -> None:
        """End the replication, and remove everything of the move from the new database."""

    def remove_new(self) -> None:
        """Remove the log and everything of the move from the new database."""

    def remove_old(self) -> None:
        """Remove everything of the move from the old database, which accepts commands again."""

    @property
    def done(self) -> Done:
        """The last step in the journal of the old database."""

    def note(self, done: Done) -> None:
        """Store a step as the last one that is done."""


class MoveStep(NamedTuple):
    """A function, and the step that is noted after it."""

    do: Callable[[MoveOperations], None]
    done: Done


def _switch(sides: MoveOperations) -> None:
    """Close the old database. Commands wait only while this runs; after an error the old database accepts them again."""
    sides.close()
    try:
        sides.wait_for_all()
        sides.compare_remaining()
        sides.seal()
    except Exception:
        sides.lift()
        raise


STEPS = (
    MoveStep(lambda sides: sides.prepare(), Done.PREPARED),
    MoveStep(lambda sides: sides.publish(), Done.PUBLISHED),
    MoveStep(lambda sides: sides.copy(), Done.COPIED),
    MoveStep(lambda sides: sides.compare_past(), Done.COMPARED),
    MoveStep(_switch, Done.SEALED),
    MoveStep(lambda sides: sides.open(), Done.OPENED),
    MoveStep(lambda sides: sides.hand_over(), Done.MOVED),
    MoveStep(lambda sides: sides.finish(), Done.FINISHED),
)
ORDER = list(Done)
TAKEN_AGAIN = {Done.COMPARED: Done.COPIED}
"""The step after which an interrupted move is resumed, where it is not the last one: rows since then are compared, too."""


def run(sides: MoveOperations) -> None:
    """Run the steps of a move that are not done.

    Raises:
        TakenBack: the move is being taken back.
    """
    if sides.done == Done.TAKEN_BACK:
        raise TakenBack
    done = TAKEN_AGAIN.get(sides.done, sides.done)
    for step in STEPS:
        if ORDER.index(step.done) > ORDER.index(done):
            step.do(sides)
            sides.note(step.done)


def abort(sides: MoveOperations) -> None:
    """Take a move back. The new database is removed first, so that an earlier command that resumes late finds nothing to open.

    Raises:
        NoWayBack: the new database accepts commands.
    """
    if ORDER.index(sides.done) >= ORDER.index(Done.OPENED) or sides.is_open():
        raise NoWayBack
    sides.note(Done.TAKEN_BACK)
    sides.remove_new()
    sides.remove_old()
