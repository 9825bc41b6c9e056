"""Work items repeat within a trace: each round of an activity is a step of its own."""

from collections import Counter, defaultdict, deque


class Rounds:
    """The rounds of one trace: which step an event of an activity concerns.

    The first round of an activity is the step with the activity's name, the n-th `name#n`.
    Should another activity already bear that very name, the next free number is taken.
    """

    def __init__(self) -> None:
        self.completed = 0
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
        step = self._oldest_pending_or_new(activity)
        self._running[activity].append(step)
        return step

    def complete(self, activity: str) -> tuple[str, bool]:
        """The oldest running round, else the oldest pending, else a new one; and: was it running."""
        self.completed += 1
        running = self._running[activity]
        if running:
            return running.popleft(), True
        return self._oldest_pending_or_new(activity), False

    def _oldest_pending_or_new(self, activity: str) -> str:
        pending = self._pending[activity]
        return pending.popleft() if pending else self._new(activity)

    def _new(self, activity: str) -> str:
        while True:
            self._numbers[activity] += 1
            number = self._numbers[activity]
            step = activity if number == 1 else f"{activity}#{number}"
            if step not in self._steps:
                self._steps.add(step)
                return step
