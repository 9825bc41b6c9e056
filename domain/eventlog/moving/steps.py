"""The steps of a move, in order. Each can be done again, so a move that was broken off anywhere goes on behind the last one
that is noted; until the new database is opened, it can be taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol


class Done(StrEnum):
    """How far a move is: what is noted in the old database once a step is done, or before it is taken back."""

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
    """The new database takes commands already: the move can only be finished."""


class TakenBack(Exception):
    """The move is being taken back: that can only be finished."""


class MoveOperations(Protocol):
    """Both databases of a log. Whatever is done already, is not done again."""

    def prepare(self) -> None:
        """Make the tables in the new database, empty and fenced in."""

    def publish(self) -> None:
        """Build the fence of the old database, open, and publish its tables."""

    def copy(self) -> None:
        """Copy all rows; return once the new database follows."""

    def compare_past(self) -> None:
        """Compare what does not change any more, and wait until the new database is near."""

    def close(self) -> None:
        """Let nothing be written in the old database for some seconds, and no transaction be open that has."""

    def wait_for_all(self) -> None:
        """Return once the new database has all that was committed in the old one."""

    def compare_remaining(self) -> None:
        """Compare what was not compared before."""

    def seal(self) -> None:
        """Let nothing be written in the old database for good, if nothing was since it was closed."""

    def lift(self) -> None:
        """Let the old database take commands."""

    def open(self) -> None:
        """Let the new database take commands, if it is still that of this move."""

    def is_open(self) -> bool:
        """Whether the new database takes commands."""

    def hand_over(self) -> None:
        """Say in the old database where the log is now."""

    def finish(self) -> None:
        """End the replication, and take away what the move has made in the new database besides the log."""

    def remove_new(self) -> None:
        """Take away all that the move has made in the new database."""

    def remove_old(self) -> None:
        """Take away all that the move has made in the old database; it takes commands again."""

    @property
    def done(self) -> Done:
        """The last step that is noted."""

    def note(self, done: Done) -> None:
        """Note that a step is done."""


class MoveStep(NamedTuple):
    """What is done, and what is noted then."""

    do: Callable[[MoveOperations], None]
    done: Done


def _switch(sides: MoveOperations) -> None:
    """Commands wait only while this runs. Where it fails, the old database takes them again."""
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
"""Where a move goes on that was broken off before commands waited: what was recorded since is compared, too."""


def run(sides: MoveOperations) -> None:
    """Do what is left of a move.

    Raises:
        TakenBack: it is being taken back.
    """
    if sides.done == Done.TAKEN_BACK:
        raise TakenBack
    done = TAKEN_AGAIN.get(sides.done, sides.done)
    for step in STEPS:
        if ORDER.index(step.done) > ORDER.index(done):
            step.do(sides)
            sides.note(step.done)


def abort(sides: MoveOperations) -> None:
    """Take a move back: first the new database, so that a command of before that wakes up finds nothing there to open.

    Raises:
        NoWayBack: the new database takes commands.
    """
    if ORDER.index(sides.done) >= ORDER.index(Done.OPENED) or sides.is_open():
        raise NoWayBack
    sides.note(Done.TAKEN_BACK)
    sides.remove_new()
    sides.remove_old()
