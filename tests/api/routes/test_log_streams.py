"""Log lines of one execution as a stream: each line once, across reconnects, until the execution has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest

from projections.log_lines import stream as log_stream
from tests.support.api_client import RESULT, Executions, ok, refused
from tests.support.running_server import TOKEN, Serving
from tests.support.sse_client import Frame, frames, opened

PROGRAM = Path(sys.executable).with_name("executions")


def say(api: httpx.Client, execution: str, *messages: str, **more: Any) -> None:
    lines = [{"level": "info", "message": message, **more} for message in messages]
    ok(api.post(f"/executions/{execution}/logs", json=lines))


def messages(read: list[Frame]) -> list[str]:
    return [frame.data["message"] for frame in read if frame.type == "log"]


def numbered_lines(count: int, word: str = "line") -> list[str]:
    return [f"{word} {number}" for number in range(count)]


def path_of(execution: str) -> str:
    return f"/executions/{execution}/logs"


def until(stream: Iterator[Frame], type_: str) -> list[Frame]:
    read = []
    for frame in stream:
        read.append(frame)
        if frame.type == type_:
            return read
    raise AssertionError(f"the stream has ended without {type_}: {read}")


@pytest.fixture
def many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "PAGE", 7)
    monkeypatch.setattr(log_stream, "IDS", 20)


@pytest.mark.parametrize("near", [0, 20_000])
def test_past_lines_are_sent_first_and_then_appended_lines(
    api: httpx.Client,
    running_execution: str,
    many_pages: None,
    monkeypatch: pytest.MonkeyPatch,
    near: int,
) -> None:
    monkeypatch.setattr(log_stream, "NEAR", near)
    past = numbered_lines(50)
    say(api, running_execution, *past)
    with opened(api, path_of(running_execution)) as source:
        stream = frames(source)
        assert messages(until(stream, "caught-up")) == past
        say(api, running_execution, "live")
        assert next(stream).data["message"] == "live"


def test_stream_ends_with_its_execution_and_reconnects_are_answered_204(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    say(api, running_execution, "one")
    with opened(api, path_of(running_execution)) as source:
        stream = frames(source)
        until(stream, "caught-up")
        say(api, running_execution, "two")
        executions.tell(running_execution, "complete", **RESULT)
        read = list(stream)
    assert messages(read) == ["two", "Request completed"]
    again = api.get(
        path_of(running_execution),
        headers={"Accept": "text/event-stream", "Last-Event-ID": read[-1].id},
    )
    assert again.status_code == 204
    say(api, running_execution, "afterword")
    with opened(api, path_of(running_execution), after=read[-1].id) as source:
        assert messages(list(frames(source))) == ["afterword"]


def test_log_stream_resumes_after_the_line_of_its_cursor(
    api: httpx.Client, completed_execution: str
) -> None:
    say(api, completed_execution, *numbered_lines(5))
    with opened(api, path_of(completed_execution)) as source:
        read = [frame for frame in frames(source) if frame.type == "log"]
    assert len(read) == 6
    for number, frame in enumerate(read[:-1]):
        with opened(api, path_of(completed_execution), after=frame.id) as source:
            rest = [frame for frame in frames(source) if frame.type == "log"]
        assert rest == read[number + 1 :]


def test_lines_of_several_clients_are_sent_in_the_order_of_their_ids(
    api: httpx.Client, running_execution: str
) -> None:
    with opened(api, path_of(running_execution)) as source, ThreadPoolExecutor(8) as clients:
        stream = frames(source)
        until(stream, "caught-up")
        list(clients.map(lambda n: say(api, running_execution, f"{n}"), range(40)))
        read = [next(stream) for _ in range(40)]
    assert sorted(messages(read), key=int) == [f"{n}" for n in range(40)]
    ids = [int(frame.id.partition("-")[2]) for frame in read]
    assert ids == sorted(set(ids))


def test_stream_accepts_the_filters_of_the_pages(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    say(api, running_execution, "quiet")
    say(api, running_execution, "loud", level="error", step="send")
    say(api, running_execution, "elsewhere", level="error")
    executions.tell(running_execution, "complete", **RESULT)
    for query, found in (
        ({"level": "error"}, ["loud", "elsewhere"]),
        ({"level": "error,info", "step": "send"}, ["loud"]),
        ({"until": "2000-01-01T00:00:00Z"}, []),
        ({"since": "2000-01-01T00:00:00Z"}, ["quiet", "loud", "elsewhere", "Request completed"]),
    ):
        with opened(api, path_of(running_execution), **query) as source:
            assert messages(list(frames(source))) == found


def test_stream_begins_at_the_cursor_in_from(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    say(api, running_execution, "old", timestamp="2020-01-01T00:00:00Z")
    with opened(api, path_of(running_execution), **{"from": "now"}) as source:
        stream = frames(source)
        [arrived] = until(stream, "caught-up")
        sleep(0.01)
        say(api, running_execution, "dated back", timestamp="2020-01-01T00:00:00Z")
        assert next(stream).data["message"] == "dated back"
    with opened(api, path_of(running_execution), **{"from": arrived.id}) as source:
        assert messages(until(frames(source), "caught-up")) == ["dated back"]
    since = "2021-01-01T00:00:00Z"
    with opened(api, path_of(running_execution), **{"from": since}) as source:
        assert messages(until(frames(source), "caught-up")) == ["old", "dated back"]


REFUSED: dict[str, tuple[dict[str, str], dict[str, str], int, str]] = {
    "no cursor of log lines": ({"Last-Event-ID": "7"}, {}, 400, "malformed"),
    "7-x": ({"Last-Event-ID": "7-x"}, {}, 400, "malformed"),
    "0-999999999' lies in the future": ({"Last-Event-ID": "0-999999999"}, {}, 400, "malformed"),
    "999999999-0' lies in the future": ({"Last-Event-ID": "999999999-0"}, {}, 400, "malformed"),
    "no cursor": ({}, {"from": "yesterday"}, 400, "malformed"),
    "a cursor or a time": ({}, {"from": "2026-99-99T00:00:00Z"}, 400, "malformed"),
    "limit": ({}, {"limit": "5"}, 422, "invalid"),
    "loud": ({}, {"level": "loud"}, 422, "invalid"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_invalid_log_stream_request_is_refused(
    api: httpx.Client, running_execution: str, words: str
) -> None:
    headers, query, status, code = REFUSED[words]
    asked = {"Accept": "text/event-stream", **headers}
    answer = api.get(path_of(running_execution), headers=asked, params=query)
    assert words in str(refused(answer, status, code))


def test_pages_refuse_the_parameter_from(api: httpx.Client, running_execution: str) -> None:
    answer = api.get(path_of(running_execution), params={"from": "start"})
    assert "from" in str(refused(answer, 422, "invalid"))


def test_log_stream_of_an_unknown_execution_is_not_found(api: httpx.Client) -> None:
    answer = api.get(path_of("nobody"), headers={"Accept": "text/event-stream"})
    refused(answer, 404, "not-found")


def run(server: Serving, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "logs", *arguments, "--url", server.url, "--token", TOKEN]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("form", [(), ("--follow",)])
def test_logs_command_prints_all_lines_and_ends(
    api: httpx.Client, server: Serving, completed_execution: str, form: tuple[str, ...]
) -> None:
    say(api, completed_execution, *numbered_lines(600))
    said = run(server, completed_execution, *form)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("info  line ") == 600
    assert "info  Request completed" in said.stdout
    chosen = run(server, completed_execution, "--level", "warn", "--json", *form)
    assert (chosen.returncode, chosen.stdout) == (0, "")


def test_logs_command_reports_an_unknown_execution(server: Serving) -> None:
    said = run(server, "nobody", "--follow")
    assert (said.returncode, said.stdout) == (1, "")
    assert "There is no such execution." in said.stderr
