"""Runs a command as an execution: records its output as log lines, and its exit code as the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import IO

import click

from service_executions import Client, ExecutionsError, Result, Run, System

LINE = 8_000
"""Bytes of a recorded line of output; a longer one becomes several lines."""
HEARTBEATS = 3
"""Heartbeats within the time after which an execution counts as stalled."""
GRACE = 10.0
"""Seconds for the command to end after a signal, before it is killed."""
CREATION = 1.0
"""Seconds that the command waits for the answer to the creation of its execution."""
OUTPUT_GRACE = 2.0
"""Seconds for further output once the command has ended: processes that it left in the background may write for days."""
FLUSH = 10.0
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes, as shells have them, of a command that cannot be started."""
MOST_SHOWN = 1_000
"""Characters of the command line in the metadata."""


def run_and_record(
    client: Client,
    command: tuple[str, ...],
    *,
    order: str,
    service: str,
    identity: str | None,
    tags: tuple[str, ...],
    heartbeat: int,
) -> int:
    """Run a command, and record it. Return its exit code, in the convention of shells."""
    tracking = client.track(
        order=order,
        service=service,
        id=identity,
        on_error="buffer",
        assignee=System("executions-run", "executions run"),
        tags=tags,
        metadata={"command": " ".join(command)[:MOST_SHOWN]},
        heartbeat_timeout=heartbeat * 1_000,
    )
    try:
        with tracking as run:
            if _is_accepted(client, run.id):
                click.echo(f"{client.url}/ui/executions/{run.id}", err=True)
            with _beating(client, run.id, heartbeat / HEARTBEATS):
                return _run(run, command)
    finally:
        _report(client)


def _is_accepted(client: Client, execution: str) -> bool:
    """Whether the creation of the execution was not refused: it exists, or may exist once the service is available."""
    client.flush(CREATION)
    return all(refused.command.get("execution") != execution for refused in client.buffer.refused)


def _run(run: Run, command: tuple[str, ...]) -> int:
    """Run the command, record its outcome in the run, and return its exit code, in the convention of shells."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        click.echo(f"{command[0]}: {error.strerror}", err=True)
        run.fail("NOT_STARTED", f"{command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    with _copy_output(run, process):
        try:
            process.wait()
        except BaseException as error:
            _end(process, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            raise
    code = process.returncode
    if code < 0:
        name = _signal_name(-code)
        run.fail(name, f"{command[0]} was ended by {name}")
        return 128 - code
    if code:
        run.fail(f"EXIT_{code}", f"{command[0]} exited with {code}")
    else:
        run.result = Result(True, {"exitCode": 0}, f"{command[0]} exited with 0")
    return code


def _signal_name(number: int) -> str:
    """The name of a signal. Python names only the first and the last of the real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGNAL_{number}"


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _copy_output(run: Run, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Print and record the output of the command, while the block runs and up to `OUTPUT_GRACE` longer."""
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = (
        (process.stdout, sys.stdout.buffer, "info"),
        (process.stderr, sys.stderr.buffer, "warn"),
    )
    threads = [
        threading.Thread(target=_copy, args=(run, *output), daemon=True) for output in outputs
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end = monotonic() + OUTPUT_GRACE
        for thread in threads:
            thread.join(max(0.0, end - monotonic()))


def _copy(run: Run, source: IO[bytes], shown: IO[bytes], level: str) -> None:
    with source:
        while line := source.readline(LINE):
            with suppress(OSError):
                shown.write(line)
                shown.flush()
            text = line.decode(errors="replace").rstrip("\r\n")
            if text:
                run.log(text.replace("\0", "\N{REPLACEMENT CHARACTER}"), level)


@contextmanager
def _beating(client: Client, execution: str, seconds: float) -> Iterator[None]:
    """Send heartbeats while the block runs."""
    stopped = threading.Event()

    def beat() -> None:
        quick = client.with_options(max_retries=0)
        while not stopped.wait(seconds):
            with suppress(ExecutionsError):
                quick.executions[execution].heartbeat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()


def _report(client: Client) -> None:
    """Print what could not be recorded, if anything."""
    if not client.flush(FLUSH):
        click.echo(
            "The service is away: what was recorded waits, and is sent by the next run.", err=True
        )
    for refused in list(client.buffer.refused)[:1]:
        click.echo(f"Not recorded: {refused.problem['detail']}", err=True)
