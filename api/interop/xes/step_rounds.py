"""The rounds of an activity, which may repeat within a trace: each round is a step."""

from collections import Counter, defaultdict, deque


class Rounds:
    """The rounds of one trace: finds the step of an event of an activity.

    The first round of an activity is the step with the name of the activity, the n-th round `name#n`. Where another
    activity has that name, the next free number is used.
    """

    def __init__(self) -> None:
        self.ended = Counter[str]()
        """The number of rounds that are `completed`, `failed` or `skipped`."""
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
        """Add a pending round."""
        step = self._new_step(activity)
        self._pending[activity].append(step)
        return step

    def start(self, activity: str) -> str:
        """Start the oldest pending round, else a new one."""
        step = self._take_pending(activity) or self._new_step(activity)
        self._running[activity].append(step)
        return step

    def complete(self, activity: str) -> tuple[str, bool]:
        """Complete the oldest running round, else the oldest pending one, else a new one. Return it, and whether it was
        running.
        """
        self.ended["completed"] += 1
        if step := self._take_running(activity):
            return step, True
        return self._take_pending(activity) or self._new_step(activity), False

    def skip(self, activity: str) -> tuple[str, bool]:
        """Skip the oldest pending round, else a new one. Return it, and whether it existed."""
        self.ended["skipped"] += 1
        step = self._take_pending(activity)
        return (step, True) if step else (self._new_step(activity), False)

    def withdraw(self, activity: str) -> str | None:
        """Skip the oldest pending round, if there is one."""
        step = self._take_pending(activity)
        self.ended["skipped"] += bool(step)
        return step

    def abort(self, activity: str) -> str | None:
        """Fail the oldest running round, if there is one."""
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

    def _new_step(self, activity: str) -> str:
        while True:
            self._numbers[activity] += 1
            number = self._numbers[activity]
            step = activity if number == 1 else f"{activity}#{number}"
            if step not in self._steps:
                self._steps.add(step)
                return step
