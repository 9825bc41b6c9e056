"""The clock does not follow a leap ahead until it is confirmed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from api.cli.main import main
from api.clock import Clock
from tests.support.api_client import ok, refused
from tests.support.running_server import TOKEN, serving

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400.0


class Times:
    """A wall clock and a monotonic clock, set by the test."""

    def __init__(self) -> None:
        self.wall, self.steady = BEGIN.timestamp(), 5.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def after(self) -> timedelta:
        """The time of the clock, since the beginning."""
        return self.clock() - BEGIN


@pytest.mark.parametrize("seconds", [0, 0.001, 3_599, 3_600, -DAY])
def test_small_leaps_and_leaps_back_are_followed(seconds: float) -> None:
    times = Times()
    times.wall += seconds
    assert times.after() == timedelta(seconds=seconds)
    assert times.clock.doubt is None


def test_time_that_passes_is_not_a_leap() -> None:
    times = Times()
    times.pass_by(400 * DAY)
    assert times.after() == timedelta(days=400)
    assert times.clock.doubt is None


def test_leap_ahead_is_not_followed_and_is_logged() -> None:
    times = Times()
    times.pass_by(10)
    times.wall += 80 * 365 * DAY
    times.pass_by(10)
    with capture_logs() as logged:
        assert times.after() == timedelta(seconds=20)
        assert times.after() == timedelta(seconds=20)
    assert [line["event"] for line in logged] == ["the clock has leapt ahead"]
    assert "29200 days" in str(times.clock.doubt)


def test_clock_that_is_corrected_is_followed_again() -> None:
    times = Times()
    times.wall += DAY
    times.clock()
    times.wall -= DAY
    times.pass_by(1)
    assert times.after() == timedelta(seconds=1)
    assert times.clock.doubt is None


def test_clock_that_went_back_and_is_corrected_is_followed_both_times() -> None:
    times = Times()
    times.pass_by(10)
    times.clock()
    times.wall -= DAY
    times.pass_by(10)
    assert times.after() == timedelta(seconds=20) - timedelta(days=1)
    times.wall += DAY
    times.pass_by(10)
    assert times.after() == timedelta(seconds=30)
    assert times.clock.doubt is None
    times.wall += DAY
    assert times.after() == timedelta(seconds=30)
    assert times.clock.doubt is not None


def test_confirmed_leap_is_followed() -> None:
    times = Times()
    times.wall += DAY
    assert times.clock.confirm() == timedelta(days=1)
    assert times.after() == timedelta(days=1)
    assert times.clock.doubt is None
    assert times.clock.confirm() == timedelta()


def test_clock_is_read_to_the_millisecond() -> None:
    times = Times()
    times.pass_by(0.0019)
    assert times.after() == timedelta(milliseconds=1)


def test_commands_are_refused_from_a_leap_until_it_is_confirmed(database: str) -> None:
    with serving(database) as server, server.client() as api:
        user = {"name": "Acme", "kind": "organization"}
        ok(api.post("/users", json={"$id": "before", **user}))
        clock = server.system.clock
        clock._wall = lambda: datetime.now(UTC).timestamp() + 2 * DAY
        unready = api.get("/readyz")
        assert unready.status_code == 503
        assert "leapt ahead by 2 days" in unready.json()["detail"]
        response = api.post("/users", json={"$id": "during", **user})
        assert "executions confirm-clock" in refused(response, 503, "overloaded")["detail"]
        assert response.headers["retry-after"] == "1"
        ok(api.get("/users/before"))
        done = CliRunner().invoke(main, ["confirm-clock", "--url", server.url, "--token", TOKEN])
        assert "it had leapt ahead by 172800 seconds" in done.output
        ok(api.post("/users", json={"$id": "after", **user}))
        ok(api.get("/readyz"))
