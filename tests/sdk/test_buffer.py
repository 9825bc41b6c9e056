"""Buffered commands reach the service once and in order, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from service_executions.errors import ConnectionFailed
from service_executions.recording import buffer as buffers
from service_executions.recording.buffer import Buffer
from service_executions.recording.spool import MOST_COMMANDS, Spool
from service_executions.requests import api_error
from service_executions.retries import Retries
from service_executions.values import wire

JSON = dict[str, Any]


class Commands:
    """A service that accepts commands, or fails on demand."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[JSON]]] = []
        self.failures: list[Exception | list[JSON]] = []
        self.is_away = False

    def __call__(self, body: bytes, key: str) -> list[JSON]:
        commands = [json.loads(line) for line in body.splitlines()]
        if self.is_away:
            raise ConnectionFailed("away", maybe_recorded=False)
        self.calls.append((key, commands))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return [{"status": 200, "execution": command["execution"]} for command in commands]

    @property
    def numbers(self) -> list[int]:
        """The numbers of all commands, without those of repeated calls."""
        by_key = dict(self.calls)
        return [command["n"] for commands in by_key.values() for command in commands]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "AWAY", 0.01)
    monkeypatch.setattr(buffers, "LONGEST", 0.01)
    monkeypatch.setattr(buffers, "ENDLESS", Retries(0))


def command(number: int, **members: Any) -> JSON:
    return {"command": "log", "execution": "run-1", "n": number, **members}


def new_buffer(service: Commands, root: Path) -> Buffer:
    return Buffer(service, Spool(root))


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.batch"))


def test_commands_come_in_order_and_in_batches(tmp_path: Path) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    for number in range(2_500):
        buffer.add(command(number))
    assert buffer.flush(10)
    assert service.numbers == list(range(2_500))
    assert len(service.calls) < 50
    assert max(len(commands) for _, commands in service.calls) <= MOST_COMMANDS
    buffer.close()


STRANGE = os.fsdecode(b"caf\xe9.txt")
"""The name of a file that is not UTF-8."""


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (b"\xff", "/w=="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/reports/1"), "/reports/1"),
        (date(2026, 11, 30), "2026-11-30"),
        ({1}, [1]),
        (float("nan"), None),
        ({2: ()}, {"2": []}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_is_encoded_the_same_beside_any_text(tmp_path: Path, value: Any, form: Any) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    for beside in ("text", STRANGE):
        buffer.add(wire(command(1, value=value, beside=beside)))
    assert buffer.flush(10)
    buffer.close()
    sent = [each for _, commands in service.calls for each in commands]
    assert [each["value"] for each in sent] == [form, form]
    assert [each["beside"] for each in sent] == ["text", "caf?.txt"]


def test_broken_call_is_repeated_under_its_key(tmp_path: Path) -> None:
    service = Commands()
    service.failures = [ConnectionFailed("cut", maybe_recorded=True), api_error(503, {})]
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(1))
    assert buffer.flush(10)
    (first, *others) = service.calls
    assert others == [first, first]
    assert files(tmp_path) == []
    buffer.close()


def test_command_refused_as_overloaded_is_repeated(tmp_path: Path) -> None:
    service = Commands()
    service.failures = [[{"status": 503, "execution": "run-1", "problem": {"detail": ""}}]]
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(1))
    assert buffer.flush(10)
    assert len(service.calls) == 2
    buffer.close()


def test_commands_wait_in_files_while_the_service_is_away(tmp_path: Path) -> None:
    service = Commands()
    service.is_away = True
    buffer = new_buffer(service, tmp_path)
    for number in range(20):
        buffer.add(command(number))
    assert not buffer.flush(0.3)
    assert files(tmp_path)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files(tmp_path))
    service.is_away = False
    assert buffer.flush(10)
    assert service.numbers == list(range(20))
    assert files(tmp_path) == []
    buffer.close()


def test_next_process_sends_the_commands_of_the_last_one(tmp_path: Path) -> None:
    service = Commands()
    service.is_away = True
    first = new_buffer(service, tmp_path)
    first.add(command(1))
    first.close(0.05)
    assert len(files(tmp_path)) == 1
    service.is_away = False
    second = new_buffer(service, tmp_path)
    second.add(command(2))
    assert second.flush(10)
    assert service.numbers == [1, 2]
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_running_process_are_not_touched(tmp_path: Path) -> None:
    away, service = Commands(), Commands()
    away.is_away = True
    living = new_buffer(away, tmp_path)
    living.add(command(1))
    assert not living.flush(0.2)
    other = new_buffer(service, tmp_path)
    other.add(command(2))
    assert other.flush(10)
    assert service.numbers == [2]
    other.close()
    living.close(0.05)


def test_refused_command_is_stored_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Commands()
    problem = {"detail": "not now", "type": "/problems/illegal-transition"}
    service.failures = [[{"status": 409, "execution": "run-1", "problem": problem}]]
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(1))
    assert buffer.flush(10)
    assert [(refused.command["n"], refused.problem) for refused in buffer.refused] == [(1, problem)]
    assert "not now" in caplog.text
    buffer.close()


FUTURE = {"errors": [{"path": "occurredAt", "message": "must not lie in the future"}]}
EARLY = {"status": 422, "execution": "run-1", "problem": {**FUTURE, "detail": ""}}
LATER = "2099-01-01T00:00:00.000Z"


def test_clock_that_is_ahead_loses_no_command(tmp_path: Path) -> None:
    service = Commands()
    gone = {"status": 404, "execution": "run-1", "problem": {"detail": ""}}
    service.failures = [[EARLY, gone]]
    buffer = new_buffer(service, tmp_path)
    with buffer._changed:
        for number in range(2):
            buffer.add(command(number, occurredAt=LATER))
    assert buffer.flush(10)
    again = [each for _, commands in service.calls[1:] for each in commands]
    assert [each["n"] for each in again] == [0, 1]
    assert all("occurredAt" not in each for each in again)
    assert not buffer.refused
    buffer.close()


def test_clock_that_is_ahead_keeps_the_order_of_batches(tmp_path: Path) -> None:
    service = Commands()
    service.failures = [[EARLY] * MOST_COMMANDS]
    buffer = new_buffer(service, tmp_path)
    with buffer._changed:
        for number in range(MOST_COMMANDS + 1):
            buffer.add(command(number, occurredAt=LATER))
    assert buffer.flush(10)
    buffer.add(command(MOST_COMMANDS + 1, occurredAt=LATER))
    assert buffer.flush(10)
    sent = [each for _, commands in service.calls[1:] for each in commands]
    assert [each["n"] for each in sent] == list(range(MOST_COMMANDS + 2))
    assert all("occurredAt" not in each for each in sent)
    buffer.close()


def test_broken_line_of_a_file_is_left_out(tmp_path: Path) -> None:
    left = tmp_path / "spool_1" / "batch_1.batch"
    left.parent.mkdir()
    lines = [json.dumps(command(number)) for number in range(2)]
    left.write_text(f'{lines[0]}\n{{"command": "lo{lines[0]}\n{lines[1]}\n')
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(2))
    assert buffer.flush(10)
    assert service.numbers == [0, 1, 2]
    buffer.close()


def test_forked_process_sends_its_own_commands(tmp_path: Path) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(0))
    assert buffer.flush(10)
    if not (child := os.fork()):
        status = 1
        try:
            buffer.add(command(1))
            status = 0 if buffer.flush(10) and service.numbers == [0, 1] else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert service.numbers == [0]
    buffer.close()


def test_any_value_may_be_recorded(tmp_path: Path) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    buffer.add(command(1, output=threading.Lock(), more={1, 2}, nan=float("nan"), raw=b"\xff"))
    assert buffer.flush(10)
    (_, ((sent),)) = service.calls[0]
    assert "lock" in sent["output"]
    buffer.close()


def test_characters_that_json_cannot_hold_are_replaced(tmp_path: Path) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)
    name = os.fsdecode(b"caf\xe9.txt")
    buffer.add(command(1, output={name: [name, float("nan")]}, lock=threading.Lock()))
    assert buffer.flush(10)
    (_, ((sent),)) = service.calls[0]
    assert sent["output"] == {"caf?.txt": ["caf?.txt", None]}
    assert "lock" in sent["lock"]
    buffer.close()


def test_threads_may_record_at_the_same_time(tmp_path: Path) -> None:
    service = Commands()
    buffer = new_buffer(service, tmp_path)

    def record(thread: int) -> None:
        for number in range(500):
            buffer.add(command(thread * 1000 + number))
            if number % 100 == 0:
                time.sleep(0.001)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffer.flush(10)
    assert len(service.numbers) == 2_000
    for which in range(4):
        own = [number for number in service.numbers if number // 1000 == which]
        assert own == sorted(own)
    buffer.close()
