"""Reads the CPU time and the memory of processes from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of its running descendants, and of the ended children that it has reaped."""
    return sum(map(_own_seconds, [pid, *_descendants(pid)]))


def own_cpu_seconds() -> float:
    """Return the CPU time of this process alone."""
    times = os.times()
    return times.user + times.system


def busy_seconds() -> float:
    """Return the CPU time that all processes of the machine have used."""
    user, nice, system, _, _, irq, softirq, steal = _machine_ticks()
    return (user + nice + system + irq + softirq + steal) / TICKS


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process, in bytes."""
    return _memory(pid, "VmHWM:")


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return _memory(pid, "VmRSS:")


def shared_memory(pid: int) -> int:
    """Return the memory of a process, in bytes; shared pages are divided among the processes that have them (PSS)."""
    return _kilobytes(PROC / str(pid) / "smaps_rollup", "Pss:") * 1024


def children(pid: int) -> list[int]:
    """Return the ids of the running descendants of a process."""
    return list(_descendants(pid))


def command_line(pid: int) -> str:
    """Return the command line of a process."""
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def pin(pid: int, core: int) -> None:
    """Let a process and its running descendants use one core only. Processes that they start later inherit that."""
    for each in (pid, *_descendants(pid)):
        for thread in (PROC / str(each) / "task").iterdir():
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let this thread use one core only while the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _memory(pid: int, name: str) -> int:
    return _kilobytes(PROC / str(pid) / "status", name) * 1024


def _kilobytes(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(f"{file} has no {name}")


def _machine_ticks() -> list[int]:
    first = (PROC / "stat").read_text().partition("\n")[0]
    return [int(ticks) for ticks in first.split()[1:9]]


def _fields(pid: int | str) -> list[str]:
    # The second field is the program's name in brackets, which may have any characters.
    return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()


def _own_seconds(pid: int) -> float:
    with suppress(OSError):
        return sum(map(int, _fields(pid)[11:15])) / TICKS
    return 0.0


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_fields(entry.name)[1]), []).append(int(entry.name))
    pending = [pid]
    while pending:
        found = children.get(pending.pop(), [])
        yield from found
        pending += found


@dataclass(frozen=True, slots=True)
class Costs:
    """The CPU seconds of each named process during a period, those of all other processes, and the length of the period."""

    of: dict[str, float]
    others: float
    elapsed: float

    def per(self, count: int) -> str:
        """Return a text such as `CPU each: server 84, PostgreSQL 31, client 12 µs; others took 2 % of the machine`."""
        parts = (f"{name} {seconds / max(count, 1) * 1e6:.0f}" for name, seconds in self.of.items())
        share = self.others / self.elapsed / (os.cpu_count() or 1)
        return f"CPU each: {', '.join(parts)} µs; others took {share:.0%} of the machine"


class Meter:
    """Measures the CPU time of named processes from its creation to the call of `costs`. This process is added as `client`."""

    def __init__(self, **pids: int | Iterable[int]) -> None:
        self._pids = {
            name: [given] if isinstance(given, int) else list(given) for name, given in pids.items()
        }
        self._busy, self._started = busy_seconds(), time.monotonic()
        self._before = self._read()

    def costs(self) -> Costs:
        after = self._read()
        of = {name: after[name] - self._before[name] for name in after}
        others = max(0.0, busy_seconds() - self._busy - sum(of.values()))
        return Costs(of, others, time.monotonic() - self._started)

    def _read(self) -> dict[str, float]:
        of = {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}
        return {**of, "client": own_cpu_seconds()}
