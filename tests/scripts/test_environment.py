"""`scripts/environment` keeps .venv up to date with the lock files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SETUP = """
source scripts/environment
make_virtual_environment() { echo made; }
install_locked() { echo installed; }
ensure_environment requirements.lock
"""
INPUTS = ("requirements.lock", "pyproject.toml", "sdk/python/pyproject.toml", "scripts/environment")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose environment is up to date, made with the Python of this process."""
    for name in INPUTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(ROOT / ".venv" / "bin" / "python")
    assert run_environment(tmp_path) == ["made", "installed"]
    return tmp_path


def run_environment(root: Path) -> list[str]:
    """What was done for the environment."""
    command = ["bash", "-c", f"set -euo pipefail; {SETUP}"]
    return subprocess.check_output(command, cwd=root, text=True).split()


def test_environment_that_is_up_to_date_is_not_changed(root: Path) -> None:
    assert run_environment(root) == []


def test_environment_is_made_again_after_a_change_of_the_lock(root: Path) -> None:
    (root / "requirements.lock").write_text("")
    assert run_environment(root) == ["made", "installed"]


@pytest.mark.parametrize("program", [None, "exit 1"], ids=["gone", "of another version"])
def test_environment_is_made_again_if_its_python_does_not_run(
    root: Path, program: str | None
) -> None:
    python = root / ".venv" / "bin" / "python"
    python.unlink()
    if program is None:
        python.symlink_to(root / "no-python")
    else:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o755)
    assert run_environment(root) == ["made", "installed"]
