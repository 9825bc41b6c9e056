"""Which requests the SDK repeats, and how a repeat has no second effect."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from service_executions import (
    AlreadyExists,
    ApiError,
    ConnectionFailed,
    Execution,
    Misdirected,
    NotYetVisible,
    OutcomeUnknown,
    VersionMismatch,
)
from service_executions._sync import commands, transport
from service_executions.retries import LONGEST, Retries
from tests.support.scripted_service import (
    BROKEN,
    DOCUMENT,
    PAGE,
    Answer,
    ScriptedService,
    answered,
    problem,
)

GOOD = answered(DOCUMENT)
PAUSES: list[float] = []


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are recorded instead of slept."""
    PAUSES.clear()
    for module in (transport, commands):
        monkeypatch.setattr(module, "sleep", PAUSES.append)


def send_command(
    *answers: Answer, command: Callable[[Execution], object], **options: int
) -> ScriptedService:
    service = ScriptedService(*answers)
    command(service.client(**options).executions["run-1"])
    return service


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_temporary_refusal_is_retried(status: int) -> None:
    service = send_command(problem(status, "overloaded"), GOOD, command=Execution.start)
    assert len(service.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 413, 421, 422, 500])
def test_final_refusal_is_not_retried(status: int) -> None:
    service = ScriptedService(problem(status, "invalid"))
    with pytest.raises(ApiError) as refused:
        service.client().executions["run-1"].start()
    assert (refused.value.status, len(service.requests)) == (status, 1)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", None])
def test_answer_of_another_program_is_reported_as_such(kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    service = ScriptedService(httpx2.Response(200, headers=headers, content=b"<p>Welcome"))
    with pytest.raises(ConnectionFailed, match="is not the service") as failed:
        service.client().executions.get("run-1")
    assert (failed.value.maybe_recorded, len(service.requests)) == (False, 1)


def test_retries_end_after_the_allowed_number() -> None:
    service = ScriptedService(*[BROKEN] * 3)
    with pytest.raises(ConnectionFailed) as failed:
        service.client(max_retries=2).executions["run-1"].start()
    assert failed.value.maybe_recorded
    assert len(service.requests) == 3


def test_client_that_is_closed_meanwhile_stops_retrying(monkeypatch: pytest.MonkeyPatch) -> None:
    service = ScriptedService(BROKEN, GOOD)
    client = service.client()
    monkeypatch.setattr(transport, "sleep", lambda _: client.transport.http.close())
    with pytest.raises(ConnectionFailed):
        client.executions["run-1"].start()
    assert len(service.requests) == 1


def test_impossible_connection_is_not_retried() -> None:
    service = ScriptedService(httpx2.UnsupportedProtocol("no such thing"))
    with pytest.raises(ConnectionFailed) as failed:
        service.client().executions["run-1"].start()
    assert not failed.value.maybe_recorded
    assert len(service.requests) == 1


def test_retry_after_is_respected_up_to_two_minutes() -> None:
    send_command(problem(429, "rate-limited", retry_after=7), GOOD, command=Execution.start)
    assert PAUSES == [7.0]
    service = ScriptedService(problem(503, "overloaded", retry_after=121))
    with pytest.raises(ApiError):
        service.client().executions["run-1"].start()


def test_pauses_grow_and_are_drawn_from_their_whole_range() -> None:
    failure = ConnectionFailed("", maybe_recorded=True)
    for attempt, longest in ((0, 0.25), (3, 2.0), (20, LONGEST)):
        drawn = [Retries(30).pause(attempt, failure) or 0.0 for _ in range(200)]
        assert all(0 <= pause <= longest for pause in drawn)
        assert max(drawn) > longest / 2 > min(drawn)


def test_position_not_yet_visible_is_not_retried() -> None:
    service = ScriptedService(problem(504, "not-yet-visible"))
    with pytest.raises(NotYetVisible):
        service.client().inbox().page()


HARMLESS: dict[str, Callable[[Execution], object]] = {
    "start": lambda run: run.start(),
    "complete": lambda run: run.complete(),
    "cancel": lambda run: run.cancel(),
    "fail": lambda run: run.fail("E", "m"),
    "start_step": lambda run: run.start_step("a"),
    "complete_step": lambda run: run.complete_step("a"),
    "skip_step": lambda run: run.skip_step("a"),
    "declare_steps": lambda run: run.declare_steps([]),
    "update": lambda run: run.update(tags=[]),
    "heartbeat": lambda run: run.heartbeat(),
}
KEYED: dict[str, Callable[[Execution], object]] = {
    "usage": lambda run: run.record_usage(tokens=1),
    "log": lambda run: run.log("hello"),
    "checkpoint": lambda run: run.checkpoint({}),
    "retry": lambda run: run.retry(),
    "fail recoverably": lambda run: run.fail("E", "m", recoverable=True),
    "fail step recoverably": lambda run: run.fail_step("a", "E", "m", recoverable=True),
}
GUARDED: dict[str, Callable[[Execution], object]] = {
    "pause": lambda run: run.pause(),
    "resume": lambda run: run.resume(),
    "progress": lambda run: run.update_progress(4),
}


@pytest.mark.parametrize("command", HARMLESS)
def test_idempotent_command_is_repeated_without_a_key(command: str) -> None:
    service = send_command(BROKEN, GOOD, command=HARMLESS[command])
    assert service.sent("idempotency-key") == [None, None]
    assert service.requests[0].content == service.requests[1].content


@pytest.mark.parametrize("command", KEYED)
def test_command_that_would_count_twice_has_one_key(command: str) -> None:
    service = send_command(BROKEN, GOOD, command=KEYED[command])
    first, second = service.sent("idempotency-key")
    assert first == second is not None


@pytest.mark.parametrize("command", GUARDED)
def test_command_that_could_undo_is_sent_with_the_version_that_was_seen(command: str) -> None:
    service = send_command(BROKEN, GOOD, answered(PAGE), GOOD, command=GUARDED[command])
    assert [method for method, _ in service.asked] == ["POST", "GET", "GET", "POST"]
    assert service.sent("if-match") == [None, None, None, '"3"']


@pytest.mark.parametrize("command", GUARDED)
def test_recorded_command_is_not_sent_again(command: str) -> None:
    class WithHistory(ScriptedService):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if not request.url.path.endswith("/events"):
                return super().__call__(request)
            self.requests.append(request)
            cause = self.requests[0].headers["x-causation-id"]
            return answered({**PAGE, "data": [{"causationid": cause}]})

    service = WithHistory(BROKEN, GOOD, answered({**DOCUMENT, "version": 5}))
    run = service.client().executions["run-1"]
    GUARDED[command](run)
    assert [method for method, _ in service.asked] == ["POST", "GET", "GET", "GET"]
    assert run.version == 5


def test_command_recorded_before_a_page_of_others_is_not_sent_again() -> None:
    class WithLongHistory(ScriptedService):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if not request.url.path.endswith("/events"):
                return super().__call__(request)
            self.requests.append(request)
            if "cursor" not in request.url.params:
                return answered({"data": [{}], "hasMore": True, "nextCursor": "c-1"})
            cause = self.requests[0].headers["x-causation-id"]
            return answered({**PAGE, "data": [{"causationid": cause}]})

    service = WithLongHistory(BROKEN, GOOD, GOOD)
    service.client().executions["run-1"].pause()
    assert [method for method, _ in service.asked] == ["POST", "GET", "GET", "GET", "GET"]


def test_guarded_repeat_reads_the_history_again_after_a_conflict() -> None:
    moved = problem(412, "version-mismatch", version=4)
    newer = answered({**DOCUMENT, "version": 4})
    look = (newer, answered(PAGE))
    service = send_command(
        BROKEN, GOOD, answered(PAGE), moved, *look, GOOD, command=GUARDED["pause"]
    )
    assert service.sent("if-match")[-1] == '"4"'


def test_version_given_by_the_caller_is_never_replaced() -> None:
    service = ScriptedService(BROKEN, problem(412, "version-mismatch", version=9))
    with pytest.raises(VersionMismatch) as refused:
        service.client().executions["run-1"].pause(if_match=3)
    assert refused.value.current == 9
    assert service.sent("if-match") == ['"3"', '"3"']


def test_creation_without_an_answer_is_read() -> None:
    service = ScriptedService(BROKEN, GOOD)
    run = service.client().executions.create(order="o", service="s")
    (_, created), (method, read) = service.asked
    assert (created, method) == ("/api/executions", "GET")
    assert read.startswith("/api/executions/exec_")
    assert run.version == 3
    assert service.sent("idempotency-key") == [None, None]


def test_creation_that_did_not_arrive_is_sent_again_under_the_same_id() -> None:
    service = ScriptedService(BROKEN, problem(404, "not-found"), GOOD)
    service.client().executions.create(order="o", service="s")
    assert service.requests[0].content == service.requests[2].content


def test_id_that_was_used_before_the_first_attempt_is_refused() -> None:
    with pytest.raises(AlreadyExists):
        ScriptedService(problem(409, "already-exists")).client().executions.create(
            id="run-1", order="o", service="s"
        )


@pytest.mark.parametrize(
    "failure",
    [httpx2.ConnectError("refused"), problem(503, "overloaded"), problem(429, "rate-limited")],
    ids=["no connection", "overloaded", "rate-limited"],
)
def test_used_id_is_refused_even_after_an_attempt_that_recorded_nothing(
    failure: Answer,
) -> None:
    service = ScriptedService(failure, problem(409, "already-exists"))
    with pytest.raises(AlreadyExists):
        service.client().executions.create(id="run-1", order="o", service="s")
    assert [method for method, _ in service.asked] == ["POST", "POST"]


def test_unknown_outcome_is_raised_if_no_repeat_is_allowed() -> None:
    client = ScriptedService(problem(504, "outcome-unknown")).client(max_retries=0)
    with pytest.raises(OutcomeUnknown):
        client.executions["run-1"].start()


def test_id_of_another_log_is_not_followed_and_names_its_server() -> None:
    there = {"log": "south", "url": "https://south.example"}
    service = ScriptedService(problem(421, "misdirected", **there))
    with pytest.raises(Misdirected) as refused:
        service.client().executions["south~exec_1"].start()
    assert (refused.value.log, refused.value.url) == ("south", "https://south.example")
    assert len(service.requests) == 1
