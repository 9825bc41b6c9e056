"""Users of pyright see the types of the SDK as users of mypy do, which scripts/check runs."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

PYRIGHT = shutil.which("pyright")


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_types_are_strict_for_pyright() -> None:
    assert PYRIGHT is not None
    done = subprocess.run(
        [PYRIGHT, "--pythonpath", sys.executable],
        cwd=ROOT / "sdk" / "python",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
