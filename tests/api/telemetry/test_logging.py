"""The diagnostic log has one line of JSON for each record, including those of libraries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

PROGRAM = Path(sys.executable).with_name("executions")
SAYING = """
import logging, structlog
from api.telemetry.logging import configure_logging
configure_logging("info")
structlog.get_logger().info("ours", number=1)
logging.getLogger("some.library").info("not worth a line")
logging.getLogger("some.library").warning("gone: %s", "it")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("some.library").exception("broken")
"""


def parse_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_library_log_records_are_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYING], capture_output=True, text=True, check=True
    )
    ours, warning, broken = parse_lines(done.stderr)
    assert (ours["event"], ours["level"], ours["number"]) == ("ours", "info", 1)
    assert (warning["event"], warning["level"]) == ("gone: it", "warning")
    assert warning["logger"] == "some.library"
    assert "ZeroDivisionError" in broken["exception"]
    assert all("timestamp" in line for line in (ours, warning, broken))


def test_refused_handshake_is_not_logged_as_an_error(database: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--data-dir", tmp_path],
        env={**os.environ, "EXECUTIONS_DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        with pytest.raises(InvalidStatus), connect(f"{url.replace('http', 'ws')}/api/events"):
            pass
        assert httpx.get(f"{url}/healthz").status_code == 200
        server.send_signal(signal.SIGTERM)
        said = server.communicate(timeout=30)[1]
    assert [line["event"] for line in parse_lines(said) if line["level"] == "error"] == []
