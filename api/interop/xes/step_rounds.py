"""Work items repeat within a trace: each round of an activity is a step of its own."""

from collections import Counter, defaultdict, deque


class Rounds:
    """The rounds of one trace: which step an event of an activity concerns.

    The first round of an activity is the step with the activity's name, the n-th `name#n`.
    Should another activity already bear that very name, the next free number is taken.
    """

    def __init__(self) -> None:
        self.ended = Counter[str]()
        """How many rounds are `completed`, `failed`, `skipped`."""
        self._steps: set[str] = set()
        self._numbers: Counter[str] = Counter()
        self._pending: defaultdict[str, deque[str]] = defaultdict(deque)
        self._running: defaultdict[str, deque[str]] = defaultdict(deque)

    @property
    def pending(self) -> int:
        return sum(map(len, self._pending.values()))

    @property
    def running(self) -> int:
        return sum(map(len, self._running.values()))

    def schedule(self, activity: str) -> str:
        """A new pending round."""
        step = self._new(activity)
        self._pending[activity].append(step)
        return step

    def start(self, activity: str) -> str:
        """The oldest pending round, else a new one."""
        step = self._take_pending(activity) or self._new(activity)
        self._running[activity].append(step)
        return step

    def complete(self, activity: str) -> tuple[str, bool]:
        """The oldest running round, else the oldest pending, else a new one; and: was it running."""
        self.ended["completed"] += 1
        if step := self._take_running(activity):
            return step, True
        return self._take_pending(activity) or self._new(activity), False

    def skip(self, activity: str) -> tuple[str, bool]:
        """The oldest pending round, else a new one; and: was it there."""
        self.ended["skipped"] += 1
        step = self._take_pending(activity)
        return (step, True) if step else (self._new(activity), False)

    def withdraw(self, activity: str) -> str | None:
        """The oldest pending round, to be skipped."""
        step = self._take_pending(activity)
        self.ended["skipped"] += bool(step)
        return step

    def abort(self, activity: str) -> str | None:
        """The oldest running round, to be failed."""
        step = self._take_running(activity)
        self.ended["failed"] += bool(step)
        return step

    def pending_steps(self, activity: str) -> tuple[str, ...]:
        """The pending rounds of an activity, oldest first."""
        return tuple(self._pending[activity])

    def _take_pending(self, activity: str) -> str | None:
        pending = self._pending[activity]
        return pending.popleft() if pending else None

    def _take_running(self, activity: str) -> str | None:
        running = self._running[activity]
        return running.popleft() if running else None

    def _new(self, activity: str) -> str:
        while True:
            self._numbers[activity] += 1
            number = self._numbers[activity]
            step = activity if number == 1 else f"{activity}#{number}"
            if step not in self._steps:
                self._steps.add(step)
                return step
