"""Faults of a running service: kills, stops, shortages and leaps of its clock, drawn from a seed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support.service_process import Service, command_line, signal_all

MINUTE, DAY = 60, 86_400
MIB = 2**20
ROOM = 8 * 2**30
"""The size of a disk of its own; it only takes what is used of it."""
FILES_LEFT, BYTES_LEFT = 2, 8 * MIB
"""The limits of open files and of memory in a shortage."""

Victims = Callable[[Service, Random], list[int]]


def _backend(service: Service, chance: Random) -> list[int]:
    """One process of PostgreSQL that serves a connection."""
    backends = [pid for pid in service.postgres()[1:] if "[local]" in command_line(pid)]
    return [chance.choice(backends)] if backends else service.postgres()[:1]


VICTIMS: dict[str, Victims] = {
    "server": lambda service, _: [service.pid],
    "work process": lambda service, _: [service.work_process()],
    "postmaster": lambda service, _: service.postgres()[:1],
    "backend": _backend,
    "all of PostgreSQL": lambda service, _: service.postgres(),
}
KILLED = ("server", "work process", "postmaster", "backend")
STOPPED = ("server", "work process", "backend", "all of PostgreSQL")


@dataclass(slots=True)
class Faults:
    """Injects the requested faults, and counts them. Each call returns when its fault is over.

    `disk` is the mount point of a file system that is only used by the service, if there is one.
    """

    service: Service
    chance: Random
    clock: Path
    disk: Path | None
    longest: float
    """The most seconds that a stop or a shortage lasts; it lasts at least a third of them."""
    done: Counter[str] = field(default_factory=Counter)

    def kill(self) -> str:
        """Kill one process, as a power cut or the kernel would."""
        victim = self.chance.choice(KILLED)
        signal_all(VICTIMS[victim](self.service, self.chance), signal.SIGKILL)
        self.done["kill"] += 1
        return f"killed: {victim}"

    def stop(self) -> str:
        """Stop one process, or all of PostgreSQL, for a while."""
        victim = self.chance.choice(STOPPED)
        stopped = VICTIMS[victim](self.service, self.chance)
        signal_all(stopped, signal.SIGSTOP)
        try:
            killed = self._wait()
        finally:
            signal_all(stopped, signal.SIGCONT)
        self.done["stop"] += 1
        return f"stopped: {victim}{killed}"

    def fill_disk(self) -> str:
        """Fill the disk of the database for a while."""
        with fill(self.disk) if self.disk else limit_file_size(self.service.postgres()):
            killed = self._wait()
        self.done["disk full"] += 1
        return f"disk full{killed}"

    def starve_of_files(self) -> str:
        """Limit the open files of a process for a while."""
        return self._starve(resource.RLIMIT_NOFILE, "descriptors", _open_files, FILES_LEFT)

    def starve_of_memory(self) -> str:
        """Limit the memory of a process for a while."""
        return self._starve(resource.RLIMIT_AS, "memory", _address_space, BYTES_LEFT)

    def leap(self) -> str:
        """Set the clock of the server forward or back for a while, by minutes or by days."""
        seconds = self.chance.choice((-DAY, -30 * MINUTE, 10 * MINUTE, DAY, 80 * 365 * DAY))
        self.clock.write_text(str(seconds))
        try:
            time.sleep(self._while())
        finally:
            self.clock.write_text("0")
        self.done["clock leap"] += 1
        return f"clock leapt by {seconds} s"

    def _starve(self, kind: int, name: str, used: Callable[[int], int], left: int) -> str:
        victim = self.chance.choice(("server", "work process", "backend"))
        with ExitStack() as limits:
            for pid in VICTIMS[victim](self.service, self.chance):
                with suppress(OSError):
                    limits.enter_context(limit(pid, kind, used(pid) + left))
            killed = self._wait()
        self.done[name] += 1
        return f"no {name}: {victim}{killed}"

    def _wait(self) -> str:
        """Let the fault last; every other time a process is killed meanwhile."""
        lasts = self._while()
        if self.chance.random() < 0.5:
            time.sleep(lasts)
            return ""
        time.sleep(lasts / 2)
        killed = ""
        with suppress(AssertionError):  # PostgreSQL is not running at the moment
            killed = f", meanwhile {self.kill()}"
        time.sleep(lasts / 2)
        return killed

    def _while(self) -> float:
        return self.chance.uniform(self.longest / 3, self.longest)


@contextmanager
def limit(pid: int, kind: int, most: int) -> Iterator[None]:
    """While the block runs, a process may have no more than this of a resource."""
    soft, hard = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, kind, (soft, hard))


@contextmanager
def limit_file_size(pids: list[int]) -> Iterator[None]:
    """No file may exceed a megabyte: all that can be done to a disk without privileges."""
    with ExitStack() as limits:
        for pid in pids:
            with suppress(ProcessLookupError):
                limits.enter_context(limit(pid, resource.RLIMIT_FSIZE, MIB))
        yield


@contextmanager
def fill(disk: Path) -> Iterator[None]:
    """A disk of its own is full while the block runs."""
    _shrink(disk)
    try:
        yield
    finally:
        _resize(disk, ROOM)


@contextmanager
def own_disk(folder: Path) -> Iterator[Path | None]:
    """A folder as a file system of its own in memory; None if this user may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=0711", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def _shrink(disk: Path) -> None:
    """Take the free space; if others use it meanwhile, try again."""
    for _ in range(100):
        with suppress(subprocess.CalledProcessError):
            return _resize(disk, shutil.disk_usage(disk).used)
    raise AssertionError("the disk cannot be made full")


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _address_space(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()
