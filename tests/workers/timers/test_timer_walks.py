"""Timers with random policies, waits and leaps of the clock: none fires early, late or twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import hypothesis
from hypothesis import strategies as st

from domain.errors import DomainError
from domain.execution.commands import FailExecution, PauseExecution, ResumeExecution, StartExecution
from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.model import Command
from projections.timers.projection import Timers
from tests.support.examples import at_most
from tests.support.followed_log import FollowedLog
from workers.timers.worker import TimerWorker

CHANCE = 0.5
"""As the writers of a followed log draw it."""
NUMBERS = count()
MILLISECOND = timedelta(milliseconds=1)


def policy_of(**fields: Any) -> RetryPolicy:
    return RetryPolicy(**fields)


delays = st.integers(0, 3_600_000).map(lambda amount: amount * MILLISECOND)
policies = st.builds(
    policy_of,
    max_retries=st.integers(0, 4),
    backoff=st.sampled_from(["linear", "exponential"]),
    initial_delay=delays,
    max_delay=delays,
    jitter=st.sampled_from(["none", "full", "equal"]),
)
timeouts = st.none() | st.integers(1_000, 7_200_000).map(lambda amount: amount * MILLISECOND)
waits = st.timedeltas(timedelta(milliseconds=1), timedelta(hours=2)) | st.just(timedelta(hours=-5))
actions = st.lists(
    st.sampled_from(["fail", "fail for good", "pause", "resume", "start", "new worker"]) | waits,
    max_size=12,
)
COMMANDS: dict[str, Command[Any]] = {
    "fail": FailExecution(code="E", message="m", recoverable=True),
    "fail for good": FailExecution(code="E", message="m", recoverable=False),
    "pause": PauseExecution(),
    "resume": ResumeExecution(),
    "start": StartExecution(),
}


def expected_delay(policy: RetryPolicy, retry: int) -> int:
    """The documented formula, in milliseconds."""
    initial, longest = policy.initial_delay // MILLISECOND, policy.max_delay // MILLISECOND
    factor = 2 ** (retry - 1) if policy.backoff == "exponential" else retry
    whole = min(longest, initial * factor)
    drawn = {"none": whole, "full": whole * CHANCE, "equal": whole * (1 + CHANCE) / 2}
    return int(drawn[policy.jitter])


@dataclass
class Walk:
    """One execution on a log, with a clock that leaps."""

    world: FollowedLog
    policy: RetryPolicy
    name: str = field(default_factory=lambda: f"e-{next(NUMBERS)}")

    def __post_init__(self) -> None:
        self.worker = self.new_worker()

    def new_worker(self) -> TimerWorker:
        return TimerWorker(self.world.guarded_writer, "", "executions", lambda: self.world.now)

    async def walk(self, limit: timedelta | None, way: Iterable[str | timedelta]) -> None:
        await self.world.begin(self.name, retry_policy=self.policy, timeout=limit)
        for action in way:
            self.world.now += MILLISECOND  # else a retry without delay looks like the one before it
            if isinstance(action, timedelta):
                self.world.now += action
            elif action == "new worker":
                self.worker = self.new_worker()
            else:
                try:
                    await self.world.send(self.name, COMMANDS[action])
                except DomainError:
                    continue
            await self.settle()
        await self.check_history()

    async def settle(self) -> None:
        """Fire until nothing is due any more; everything that was due has happened then."""
        await self.world.follow()
        while await self.worker.fire(self.world.connection):
            await self.world.follow()
        state = await self.state()
        now = await self.now()
        assert state.next_retry_at is None or state.next_retry_at > now
        assert state.times_out_at is None or state.times_out_at > now

    async def now(self) -> datetime:
        """The time of the worker's clock: commands are dated by it, or by the last event."""
        return self.world.now

    async def state(self) -> Execution:
        versioned = await self.world.store.load(f"execution/{self.name}")
        assert versioned is not None
        state: Execution = versioned.state
        return state

    async def check_history(self) -> None:
        """No attempt began too early or twice, and each delay is that of the formula."""
        rows = await self.world.store.history(f"execution/{self.name}")
        codec = self.world.store.codec
        due: datetime | None = None
        retries = 0
        for recorded in (codec.decode(row) for row in rows):
            event: Any = recorded.event
            if event.type == "execution.retry":
                retries += 1
                assert event.retry == retries
                assert event.delay // MILLISECOND == expected_delay(self.policy, retries)
                due = event.next_retry_at
            elif event.type == "execution.starting":
                assert recorded.version == 2 or due is not None
                if recorded.by == "system":
                    assert due is not None
                    assert recorded.at >= due
                due = None
            elif event.type == "execution.failed" and not event.will_retry:
                due = None


@at_most(
    40,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(policy=policies, timeout=timeouts, way=actions)
def test_timers_fire_once_and_in_time_whatever_the_clock_does(
    database: str, policy: RetryPolicy, timeout: timedelta | None, way: list[str | timedelta]
) -> None:
    async def run() -> None:
        async with FollowedLog.opened(database, Timers()) as world:
            await Walk(world, policy).walk(timeout, way)

    asyncio.run(run())
