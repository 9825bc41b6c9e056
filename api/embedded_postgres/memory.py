"""The memory that this process may use: of the machine, or less where a control group limits it, as in a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
"""Lines such as `0::/system.slice/executions.service`, or of version 1 `4:memory:/docker/…`."""
GROUPS = Path("/sys/fs/cgroup")


def usable_memory(groups_of_process: Path = GROUPS_OF_PROCESS, groups: Path = GROUPS) -> int:
    """Return the bytes of memory that this process may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(groups_of_process, groups)])


def _limits(groups_of_process: Path, groups: Path) -> Iterator[int]:
    """Yield the limits of the control groups of this process, and of those above them."""
    lines = list[str]()
    with suppress(OSError):
        lines = groups_of_process.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                with suppress(OSError, ValueError):  # there is no such file, or it says `max`
                    yield int((folder / name).read_text())
