"""Measures the import of a process log into a running service, each time on an empty database."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.machine import peak_memory
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import BIN, ROOT, Server, Stand

MIB = 1 << 20
OFTEN = 0.05


class Imported(NamedTuple):
    """An import: its seconds, the peak memory of importer and server in bytes, and the totals that it reported."""

    seconds: float
    importer: int
    server: int
    totals: dict[str, object]


def section(log: Path, mapping: Path) -> Callable[[Stand, Plan, Report], None]:
    """Return the section for a log and its mapping."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        runs = []
        for nth in range(plan.repetitions):
            server = stand.serve(stand.database(f"import_{nth}"))
            runs.append(run_import(stand, server, log, mapping))
            stand.stop(server)
        report.add(f"Import of {log.name}", _measurements(runs))

    return measure


def run_import(stand: Stand, server: Server, log: Path, mapping: Path) -> Imported:
    command = [str(BIN / "executions"), "import", "xes", str(log), "--mapping", str(mapping)]
    received = stand.folder / "import.json"
    started = time.perf_counter()
    with received.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--url", f"http://127.0.0.1:{server.port}", "--json"],
            env={**os.environ, "EXECUTIONS_TOKEN": stand.token},
            cwd=ROOT,
            stdout=output,
        )
        try:
            most = _watch(process)
        except KeyboardInterrupt:
            process.kill()
            raise
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(
            f"the import ended with {process.returncode}: {received.read_text()[-1000:]}"
        )
    totals = json.loads(received.read_bytes())
    return Imported(seconds, most, peak_memory(server.pid), totals)


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; return its peak memory in bytes.

    The memory is polled, because `ru_maxrss` of a child process begins with the memory of this one.
    """
    most = 0
    while process.poll() is None:
        with suppress(OSError, LookupError):
            most = max(most, peak_memory(process.pid))
        time.sleep(OFTEN)
    return most


def _measurements(runs: list[Imported]) -> list[Measurement]:
    totals = runs[-1].totals
    note = ", ".join(
        f"{name} {json.dumps(totals[name])}" for name in ("executions", "steps", "events")
    )
    memory = Target("≤", 200)
    return [
        Measurement("from start to end", "s", [run.seconds for run in runs], Target("≤", 90), note),
        Measurement("importer, peak memory", "MiB", [run.importer / MIB for run in runs], memory),
        Measurement("server, peak memory", "MiB", [run.server / MIB for run in runs], memory),
    ]
