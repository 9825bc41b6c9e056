"""The program `executions` itself."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

LOADED = "import sys, api.cli.main; print(*{name.split('.')[0] for name in sys.modules})"


def test_client_commands_load_no_part_of_the_service() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "api" in loaded
    assert not {"domain", "projections", "workers", "psycopg"}.intersection(loaded)
