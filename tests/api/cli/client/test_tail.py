"""`executions tail` follows the log or one execution, and reconnects after a lost connection."""

from __future__ import annotations

import json
import time
from itertools import islice
from threading import Thread
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from api.cli.client.followed import ReceivedFrame, follow
from api.cli.client.tail import GAP
from api.cli.main import main
from api.cli.terminal import event_text, log_text
from api.streaming.subscriber import Subscriber
from service_executions import Client
from tests.support.api_client import RESULT, Executions, ok
from tests.support.running_server import TOKEN, Serving, serving
from tests.support.sse_client import opened
from tests.support.stream_consumers import read_until_closed, socket, until_caught_up


def tail(server: Serving, *words: str) -> Result:
    return CliRunner().invoke(main, ["tail", "--url", server.url, "--token", TOKEN, *words])


def test_execution_is_followed_to_its_end(server: Serving, completed_execution: str) -> None:
    result = tail(server, completed_execution)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert "execution.created by admin" in lines[0]
    assert "execution.completed" in lines[-1]
    assert "\x1b" not in result.output


SEPARATED = "one\u2028two\u2029three\u0085four"


def test_unicode_line_separators_do_not_end_an_sse_line(
    server: Serving, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.encoding._in_one_line", lambda data: data)
    execution = executions.running()
    executions.tell(execution, "cancel", reason=SEPARATED)
    result = tail(server, execution, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.split("\n")[-2])["data"]["reason"] == SEPARATED


def test_sse_data_has_no_unicode_line_separators(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    executions.tell(execution, "cancel", reason=SEPARATED)
    with opened(api, f"/executions/{execution}/events") as source:
        texts = [text for text in source.response.iter_lines() if text.startswith("data: {")]
    reasons = [json.loads(text.removeprefix("data: "))["data"].get("reason") for text in texts[:-1]]
    assert reasons[-1] == SEPARATED


def test_tail_escapes_terminal_control_characters(server: Serving, executions: Executions) -> None:
    steering = "\x1b]0;mine\x07\x9b2J\x7f\rbye\ttoo"
    line = {"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": steering}
    shown = log_text(line, execution="e").plain
    assert shown.endswith("\ufffd]0;mine\ufffd\ufffd2J\ufffd\ufffdbye\ttoo")
    execution = executions.running()
    executions.tell(execution, "cancel", reason=steering)
    assert not set("\x1b\x07\x9b\x7f\r") & set(tail(server, execution).stdout)
    output = tail(server, execution, "--json").stdout
    assert not set("\x1b\x07\x9b\x7f\r") & set(output)
    assert json.loads(output.splitlines()[-1])["data"]["reason"] == steering


def test_pipe_gets_the_events_as_lines_of_json(server: Serving, completed_execution: str) -> None:
    result = tail(server, completed_execution, "--json", "--types", "*.started")
    (event,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (event["type"], event["subject"]) == ("execution.started", completed_execution)


def test_tail_without_an_execution_has_every_event_of_the_log(
    server: Serving, completed_execution: str, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = api.post("/users", json={"name": "Ann", "kind": "person"})
    last = int(made.headers["log-position"])

    def printed(*words: str, until: int) -> list[dict[str, Any]]:
        """The first events that are printed, until Ctrl-C."""
        events: list[dict[str, Any]] = []

        def note(text: str) -> None:
            events.append(json.loads(text))
            if len(events) == until:
                raise KeyboardInterrupt

        monkeypatch.setattr("api.cli.client.tail.print_json", note)
        result = tail(server, "--from", "start", "--json", *words)
        assert result.exit_code == 130, result.output
        return events

    assert printed("--types", "order.*", until=1)[0]["type"].startswith("order.")
    events = printed(until=last)
    assert [event["position"] for event in events] == list(range(1, last + 1))
    assert all(event_text(event).plain for event in events)
    assert completed_execution in {event["subject"] for event in events}
    of_executions = printed("--status", "completed", until=1)
    assert [event["type"] for event in of_executions] == ["execution.completed"]


def test_log_lines_are_followed_to_the_end_of_an_execution(
    server: Serving, executions: Executions, running_execution: str
) -> None:
    results: list[Result] = []
    line = {"level": "warn", "message": "Slow\nlead", "step": "research", "context": {"lead": 42}}

    def follow_logs() -> None:
        results.append(tail(server, running_execution, "--logs"))

    with socket(server, f"/executions/{running_execution}/watch", types="log") as opened:
        witness = read_until_closed(opened)
        until_caught_up(witness)
        listener = Thread(target=follow_logs)
        listener.start()
        while sum(connection.live for connection in server.system.hub._subscribers) < 2:
            assert listener.is_alive()
            time.sleep(0.01)
        with server.client() as client:
            client.post(f"/executions/{running_execution}/logs", json=line)
        assert next(witness)["message"] == line["message"]
        executions.tell(running_execution, "complete", **RESULT)
        listener.join(20)
    first, second, noted = results[0].stdout.splitlines()
    assert first.endswith(f" {running_execution} warn  [research] Slow")
    assert second == 'lead {"lead":42}'
    assert noted.endswith(f" {running_execution} info  Request completed")


@pytest.mark.parametrize(("words", "said"), [(["--logs"], 1), ([], 0)])
def test_tail_reports_log_lines_missed_over_a_lost_connection(
    server: Serving, executions: Executions, words: list[str], said: int
) -> None:
    execution = executions.running()
    results: list[Result] = []

    def come() -> Subscriber:
        deadline = time.monotonic() + 20
        while not (here := [one for one in server.system.hub._subscribers if one.live]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return here[0]

    listener = Thread(target=lambda: results.append(tail(server, execution, *words)))
    listener.start()
    first = come()
    server._loop.call_soon_threadsafe(first.cut)
    while not first.done.done() or come() is first:
        time.sleep(0.01)
    executions.tell(execution, "complete", **RESULT)
    listener.join(20)
    assert results[0].exit_code == 0
    assert "trying again" in results[0].stderr
    assert " ".join(results[0].stderr.split()).count(GAP) == said


def test_tail_refuses_types_with_logs(server: Serving) -> None:
    assert "go without --logs" in tail(server, "--logs", "--types", "*").output


def test_tail_prints_a_refusal_in_one_line(server: Serving) -> None:
    assert "There is no such execution." in tail(server, "nobody").output
    assert "Error: types:" in tail(server, "--types", "(").output
    assert tail(server, "--from", "tomorrow").exit_code == 1


@pytest.mark.parametrize("url", ["localhost:8000", "http://["])
def test_invalid_url_is_refused_at_once(url: str) -> None:
    result = CliRunner().invoke(main, ["tail", "--url", url])
    assert result.output == f"Error: `{url}` is no address like http://127.0.0.1:8000\n"


def test_unreachable_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service_executions._sync.streams.sleep", stop)
    result = CliRunner().invoke(main, ["tail", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 130
    assert result.stderr.startswith("http://127.0.0.1:1 gave no answer (")
    assert "Is it running? Else name it with --url" in " ".join(result.stderr.split())


def test_tail_resumes_at_its_cursor_after_a_lost_connection(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[ReceivedFrame] = []

    def listen(url: str, count: int) -> None:
        with Client(url, TOKEN) as client:
            sent = follow(client, "/events", {"types": "user.*"}, start="start")
            heard.extend(islice(sent, count))

    with serving(database) as first, first.client() as client:
        port = first.port
        client.post("/users", json={"name": "Ann", "kind": "person"})
        listener = Thread(target=listen, args=[first.url, 2])
        listener.start()
        while not heard and listener.is_alive() and first.system.hub.open == 0:
            pass
    with serving(database, port) as second, second.client() as client:
        client.post("/users", json={"name": "Ben", "kind": "person"})
        listener.join(40)
    assert [sent.position for sent in heard] == [1, 2]
    assert "is going away; trying again" in capsys.readouterr().err


def test_wrong_token_is_refused(server: Serving) -> None:
    result = CliRunner().invoke(main, ["tail", "--url", server.url, "--token", "wrong"])
    assert result.exit_code == 1
    assert f"{server.url} does not accept the token" in result.stderr


def test_events_of_a_running_execution_are_printed_at_once(
    server: Serving, executions: Executions
) -> None:
    execution = executions.running()
    with Client(server.url, TOKEN) as client:
        following = follow(client, f"/executions/{execution}/events", {})
        assert [next(following).position > 0 for _ in range(3)] == [True] * 3
        executions.tell(execution, "cancel")
        assert [sent.content["type"] for sent in following] == ["execution.cancelled"]


@pytest.mark.parametrize("command", ["tail", "logs", "replay"])
def test_purpose_is_recorded_with_the_read(
    server: Serving, completed_execution: str, api: httpx.Client, command: str
) -> None:
    purpose = f"Annual audit, {command}"
    words = [command, completed_execution, "--purpose", purpose]
    result = CliRunner().invoke(main, [*words, "--url", server.url, "--token", TOKEN])
    assert result.exit_code == 0, result.output
    read = ok(api.get(f"/executions/{completed_execution}/access-log"))
    assert purpose in [entry.get("purpose") for entry in read["data"]]
