"""Import of a process log into a running service, on an empty database each time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure, Report, Target
from bench.machine import peak_memory
from bench.plan import Plan
from bench.stand import BIN, ROOT, Server, Stand

MIB = 1 << 20


class Imported(NamedTuple):
    """One import: how long, the most memory of both sides, the totals it told."""

    seconds: float
    importer: int
    server: int
    totals: dict[str, object]


def section(log: Path, mapping: Path) -> Callable[[Stand, Plan, Report], None]:
    """The measurement of this log."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        runs = []
        for nth in range(plan.repetitions):
            server = stand.serve(stand.database(f"import_{nth}"))
            runs.append(imported(stand, server, log, mapping))
            stand.stop(server)
        report.add(f"Import of {log.name}", _figures(runs))

    return measure


def imported(stand: Stand, server: Server, log: Path, mapping: Path) -> Imported:
    command = [str(BIN / "executions"), "import", "xes", str(log), "--mapping", str(mapping)]
    told = stand.folder / "import.json"
    started = time.perf_counter()
    with told.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--url", f"http://127.0.0.1:{server.port}", "--json"],
            env={**os.environ, "EXECUTIONS_TOKEN": stand.token},
            cwd=ROOT,
            stdout=output,
        )
        try:
            # Not Popen.wait: the kernel tells the most memory only to whoever reaps the process.
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(
            f"the import ended with {process.returncode}: {told.read_text()[-1000:]}"
        )
    totals = json.loads(told.read_bytes())
    return Imported(seconds, usage.ru_maxrss * 1024, peak_memory(server.pid), totals)


def _figures(runs: list[Imported]) -> list[Figure]:
    totals = runs[-1].totals
    note = ", ".join(
        f"{name} {json.dumps(totals[name])}" for name in ("executions", "steps", "events")
    )
    memory = Target("≤", 200)
    return [
        Figure("from start to end", "s", [run.seconds for run in runs], Target("≤", 90), note),
        Figure("importer, peak memory", "MiB", [run.importer / MIB for run in runs], memory),
        Figure("server, peak memory", "MiB", [run.server / MIB for run in runs], memory),
    ]
