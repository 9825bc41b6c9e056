"""A model of a move: two databases, servers that write, a fence that opens after a timeout, and a program that may be killed.

The steps are the product's own (`domain/eventlog/moving/steps.py`); their effects on the databases are modelled here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from math import inf

from domain.eventlog.moving.steps import Done

LEASE = 3
"""Ticks after which the fence opens."""


class Fault(StrEnum):
    """Faults that may be planted."""

    NO_FENCE = "the old database is not fenced in"
    NOT_DRAINED = "the fence does not wait for transactions that are open"
    NOT_ARRIVED = "the new database is not waited for, nor compared"
    UNCHECKED = "the fence is closed for good although it has opened by itself"
    NEW_IS_KEPT = "what is taken back stays in the new database"


class Killed(BaseException):
    """The program that moves the log was killed."""


class Stopped(Exception):
    """The move has stopped by itself."""


@dataclass
class ModelDatabase:
    """A database: its events, the time until which it accepts none, and the writes of open transactions."""

    events: list[int] = field(default_factory=list)
    fenced_until: float = 0
    pending: dict[int, int] = field(default_factory=dict)
    of_move: bool = False
    """Whether the move created it."""


class Moving:
    """`chance` draws a number below another one. Anything possible may happen between two effects of the program."""

    def __init__(self, chance: Callable[[int], int], faults: Collection[Fault] = ()) -> None:
        self.old, self.new = ModelDatabase(), ModelDatabase(fenced_until=inf)
        self.databases = [self.old, self.old]
        """The database to which each server writes."""
        self.acknowledged: list[int] = []
        self.moved = False
        self.may_be_killed = True
        self.asleep = False
        """Whether a program that was only frozen is about to open the new database."""
        self._done = Done.BEGUN
        self._copies = False
        self._now = 0
        self._chance = chance
        self._faults = faults
        self._next = count(1)

    # --- what may happen at any time

    def happen(self) -> None:
        """Some of the possible events."""
        for _ in range(self._chance(4)):
            server = self._chance(len(self.databases))
            chosen = self._chance(7)
            if chosen == 0 and self.may_be_killed:
                raise Killed
            (self._tick, self.write, self._begin, self._commit, self._roll_back, self._follow)[
                max(chosen - 1, 0)
            ](server)

    def _tick(self, _: int) -> None:
        self._now += 1

    def takes_commands(self, database: ModelDatabase) -> bool:
        return self._now >= database.fenced_until

    def write(self, server: int) -> None:
        """A command in a transaction of its own."""
        self._begin(server)
        self._commit(server)

    def _begin(self, server: int) -> None:
        database = self.databases[server]
        if server not in self.old.pending and self.takes_commands(database):
            database.pending[server] = next(self._next)

    def _commit(self, server: int) -> None:
        for database in (self.old, self.new):
            if (command := database.pending.pop(server, None)) is not None:
                database.events.append(command)
                self.acknowledged.append(command)

    def _roll_back(self, server: int) -> None:
        self.old.pending.pop(server, None)
        self.new.pending.pop(server, None)

    def _follow(self, server: int) -> None:
        if self.moved and server not in self.old.pending:
            self.databases[server] = self.new

    def _drain(self) -> None:
        for server in list(self.old.pending):
            (self._commit, self._roll_back)[self._chance(2)](server)

    # --- what the program does

    def _effect(self, do: Callable[[], None]) -> None:
        self.happen()
        do()
        self.happen()

    @property
    def done(self) -> Done:
        return self._done

    def note(self, done: Done) -> None:
        def note() -> None:
            self._done = done

        self._effect(note)

    def prepare(self) -> None:
        def make() -> None:
            self.new.events, self.new.fenced_until, self.new.of_move = [], inf, True

        self._effect(make)

    def publish(self) -> None:
        self._effect(lambda: None)

    def copy(self) -> None:
        self._effect(self._replicate)
        self._copies = True

    def _replicate(self) -> None:
        self.new.events = list(self.old.events)

    def compare_past(self) -> None:
        self._effect(self._replicate)

    def close(self) -> None:
        if Fault.NO_FENCE in self._faults:
            return
        self._effect(self._close)
        if Fault.NOT_DRAINED not in self._faults:
            self._drain()

    def _close(self) -> None:
        self.old.fenced_until = self._now + LEASE

    def wait_for_all(self) -> None:
        if Fault.NOT_ARRIVED not in self._faults:
            self._effect(self._replicate)

    def compare_remaining(self) -> None:
        def compare() -> None:
            if self.new.events != self.old.events:
                raise Stopped

        if Fault.NOT_ARRIVED not in self._faults:
            self._effect(compare)

    def seal(self) -> None:
        def seal() -> None:
            if Fault.NOT_DRAINED not in self._faults:
                self._drain()
            if self.takes_commands(self.old) and Fault.UNCHECKED not in self._faults:
                raise Stopped
            self.old.fenced_until = inf

        if Fault.NO_FENCE not in self._faults:
            self._effect(seal)

    def lift(self) -> None:
        def lift() -> None:
            self.old.fenced_until = 0

        self._effect(lift)

    def open(self) -> None:
        try:
            self.happen()
        except Killed:
            self.asleep = True  # it may only have been frozen
            raise
        if not self.new.of_move:
            raise Stopped
        self.wake()
        self.happen()

    def wake(self) -> None:
        """Open the new database, if it is that of this move."""
        if self.new.of_move:
            self.new.fenced_until = 0

    def is_open(self) -> bool:
        return self.takes_commands(self.new)

    def hand_over(self) -> None:
        def hand_over() -> None:
            self.moved = True

        self._effect(hand_over)

    def finish(self) -> None:
        self._effect(lambda: None)

    def remove_new(self) -> None:
        def remove() -> None:
            if Fault.NEW_IS_KEPT not in self._faults:
                self.new.of_move, self.new.events, self.new.fenced_until = False, [], inf

        self._effect(remove)

    def remove_old(self) -> None:
        def remove() -> None:
            self.old.fenced_until = 0

        self._effect(remove)

    # --- what must hold

    def settle(self) -> None:
        """The program has ended, a frozen one resumes, and servers write once more."""
        self.may_be_killed = False
        if self.asleep:
            self.wake()
        self._now += LEASE
        for server in range(len(self.databases)):
            self._commit(server)
            self._follow(server)
            self.write(server)

    def check(self) -> None:
        """One database accepts commands, and has all acknowledged ones, each once, in order."""
        takes = [self.takes_commands(database) for database in (self.old, self.new)]
        assert takes == [not self.moved, self.moved], "both databases, or none, take commands"
        events = self.new.events if self.moved else self.old.events
        assert len(set(events)) == len(events), "recorded twice"
        assert set(self.acknowledged) == set(events), "lost"
        if self.moved:
            assert events[: len(self.old.events)] == self.old.events, "lost"
