"""The embedded PostgreSQL takes a share of the memory that its process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.embedded_postgres.memory import usable_memory
from api.embedded_postgres.parameters import parameters

GIB = 1024**3
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
LIMIT = MACHINE // 2


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/app.slice/one.service", "app.slice/one.service/memory.max"),
        ("0::/app.slice/one.service", "app.slice/memory.max"),
        ("0::/", "memory.max"),
        ("4:memory:/docker/one", "memory/docker/one/memory.limit_in_bytes"),
        ("4:cpu,memory:/docker/one", "memory/memory.limit_in_bytes"),
    ],
)
def test_limit_of_a_control_group_or_of_one_above_it_counts(
    tmp_path: Path, line: str, file: str
) -> None:
    groups = tmp_path / "groups"
    (groups / file).parent.mkdir(parents=True, exist_ok=True)
    (groups / file).write_text(f"{LIMIT}\n")
    listed = tmp_path / "cgroup"
    listed.write_text(f"7:blkio:/\n{line}\n")
    assert usable_memory(listed, groups) == LIMIT


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_memory_is_that_of_the_machine_where_nothing_limits_it(tmp_path: Path, limit: str) -> None:
    listed = tmp_path / "cgroup"
    assert usable_memory(listed, tmp_path) == MACHINE
    listed.write_text("0::/\n")
    (tmp_path / "memory.max").write_text(limit)
    assert usable_memory(listed, tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("memory", "buffers", "maintenance"),
    [(GIB, "256MB", "64MB"), (16 * GIB, "2048MB", "256MB"), (64 * GIB, "4096MB", "256MB")],
)
def test_buffers_are_a_share_of_the_memory(memory: int, buffers: str, maintenance: str) -> None:
    made = parameters(memory)
    assert (made["shared_buffers"], made["maintenance_work_mem"]) == (buffers, maintenance)
