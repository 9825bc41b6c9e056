"""The keys of a log, compared with the settings."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from api import log_keys
from api.embedded_postgres.data_dir import DataDir
from api.settings import Settings

KEY = b"k" * 32


def test_key_command_has_ended_before_the_lock_of_the_log_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take 30 seconds, and others wait for the lock for 5."""
    calls = tmp_path / "calls"

    def settle(
        _: str, __: str, known: Callable[[], bytes], made: Callable[[], bytes] | None
    ) -> None:
        assert made is not None
        assert known() == made() == KEY

    monkeypatch.setattr(log_keys, "settle_master_key", settle)
    command = f"echo called >> {calls}; printf %s {b64encode(KEY).decode()}"
    settings = Settings(data_dir=tmp_path / "data", master_key_command=command)
    log_keys.require_key_of_log("", settings, DataDir.open(settings.data_dir))
    assert calls.read_text() == "called\n"
